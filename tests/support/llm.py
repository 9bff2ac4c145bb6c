"""A server on this machine that speaks OpenAI's chat completions, or misbehaves as it is told.

What it does is in the last part of the base URL: `http://127.0.0.1:PORT/drip` sends a byte now and then.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAUSE_S = 60.0  # of a slow server; far beyond any deadline in the tests
GOOD = {
    "detail": json.dumps({"description": "A red card in bright red on a plain table"}),
    "k_list": json.dumps({"keywords": ["red card", "bright red", "plain table"]}),
}


def completion(content: object, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


@dataclass
class LanguageServer:
    """`url` of a behaviour, and what was asked: bodies and headers, in order."""

    port: int = 0
    answer: str = GOOD["detail"]  # of the behaviour `say`
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.port}/{behaviour}"


class _Handler(BaseHTTPRequestHandler):
    state: LanguageServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.state.bodies.append(json.loads(body))
        self.state.headers.append(dict(self.headers))
        behaviour = self.path.removesuffix("/chat/completions").strip("/")
        try:
            BEHAVIOURS[behaviour](self)
        except (BrokenPipeError, ConnectionResetError):
            return  # the other side has had enough

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def _slow(handler: _Handler) -> None:
    handler.state.ending.wait(PAUSE_S)
    handler.reply(200, completion(GOOD["detail"]))


def _drip(handler: _Handler, *, headers_too: bool = False) -> None:
    """A byte each 20 ms: no single read ever waits long."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    if not headers_too:
        handler.wfile.write(head)
    until = time.monotonic() + PAUSE_S
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000 if headers_too else b" " * 1000:
        if handler.state.ending.is_set() or time.monotonic() > until:
            return
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        handler.state.ending.wait(0.02)


def _endless(handler: _Handler) -> None:
    handler.reply(200, completion("word " * 400_000))


def _broken_then_well(handler: _Handler) -> None:
    if len(handler.state.bodies) == 1:
        handler.reply(503, b"starting")
    else:
        handler.reply(200, completion(GOOD["detail"]))


def _cut(handler: _Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.close_connection = True


BEHAVIOURS: dict[str, Callable[[_Handler], None]] = {
    "say": lambda handler: handler.reply(200, completion(handler.state.answer)),
    "slow": _slow,
    "drip": _drip,
    "drip-headers": lambda handler: _drip(handler, headers_too=True),
    "500": lambda handler: handler.reply(500, b"oh no"),
    "401": lambda handler: handler.reply(401, b"who are you"),
    "redirect": lambda handler: handler.reply(302, b"", Location=handler.state.url("say")),
    "429-later": lambda handler: handler.reply(429, b"", Retry_After="3600"),
    "broken-then-well": _broken_then_well,
    "garbage": lambda handler: handler.reply(200, b"\x00\xff{{{{"),
    "empty": lambda handler: handler.reply(200, b""),
    "html": lambda handler: handler.reply(200, b"<html><body>Sign in</body></html>"),
    "huge": _endless,
    "cut": _cut,
    "silent": lambda handler: handler.reply(200, completion("  ")),
    "no-text": lambda handler: handler.reply(200, completion(None)),
    "cut-short": lambda handler: handler.reply(200, completion('{"desc', "length")),
}


@contextmanager
def language_server() -> Iterator[LanguageServer]:
    state = LanguageServer()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
