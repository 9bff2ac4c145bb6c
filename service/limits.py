"""A cap on the size of a request body, before anything reads it into memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import answer


class BodyLimit:
    """Answers 413 when a body is, or turns out to be, larger than `most` bytes."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._most:
            await self._refuse(scope, receive, send)
            return
        read = 0
        started = False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except TooLargeError:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the request is larger than {self._most} bytes (KALLOS_MAX_UPLOAD_BYTES)"
        await answer(scope["path"], 413, "request_too_large", detail)(scope, receive, send)


class TooLargeError(Exception):
    """Ends the reading of a body that lied about its length, or did not tell it."""
