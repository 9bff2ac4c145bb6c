"""One table from project errors to HTTP problems (RFC 9457)."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from indexer.errors import (
    ConflictError,
    InvalidInputError,
    KallosError,
    LimitError,
    NotFoundError,
    StoreError,
    UnavailableError,
    UnsupportedError,
)
from service.error_shapes import SHAPES

LOG = logging.getLogger("kallos")

# The first class that fits decides.
STATUS: tuple[tuple[type[KallosError], int], ...] = (
    (InvalidInputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (LimitError, 429),
    (UnsupportedError, 501),
    (UnavailableError, 503),
    (StoreError, 503),
)
TITLE = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Request too large",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    501: "Not supported",
    503: "Unavailable",
}
PROBLEM = "application/problem+json"
PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable: branch on it"},
        "detail": {"type": "string", "description": "for people: the value, and what was expected"},
    },
}
# What the OpenAPI document says of every route.
RESPONSES: dict[int | str, dict[str, object]] = {
    status: {"description": title, "content": {PROBLEM: {"schema": PROBLEM_SCHEMA}}}
    for status, title in TITLE.items()
    if status not in (405, 500)
}


def problem(status: int, code: str, detail: str, **extra: object) -> JSONResponse:
    """An RFC 9457 body: `title` for people, `code` for programs, `detail` for both."""
    body = {"type": "about:blank", "title": TITLE.get(status, "Error"), "status": status, "code": code}
    return JSONResponse(body | {"detail": detail} | extra, status_code=status, media_type=PROBLEM)


def status_of(error: KallosError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def compat_responses() -> dict[int | str, dict[str, object]]:
    """What the OpenAPI document says of the errors of such routes."""
    return {
        status: {"description": title, "content": {"application/json": {"schema": {"type": "object"}}}}
        for status, title in TITLE.items()
        if status not in (405, 500)
    }


def answer(path: str, status: int, code: str, detail: str, **extra: object) -> JSONResponse:
    """A problem, or under another program's path what its clients expect."""
    for prefix, shape in SHAPES:
        if path.startswith(prefix):
            status, body = shape(status, code, detail)
            # OpenAI's clients try again by themselves when a server fails: here, that is the same work again.
            headers = {} if status == 429 else {"X-Should-Retry": "false"}
            return JSONResponse(body, status_code=status, headers=headers)
    return problem(status, code, detail, **extra)


def _headers_of(error: KallosError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, LimitError) else {}


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KallosError)
    extra = {"capability": error.capability} if isinstance(error, UnsupportedError) else {}
    response = answer(request.url.path, status_of(error), error.code, str(error), **extra)
    response.headers.update(_headers_of(error))
    return response


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(step) for step in found["loc"]), "message": found["msg"]}
        for found in error.errors()
    ]
    detail = "; ".join(f"{found['field']}: {found['message']}" for found in errors[:3])
    return answer(request.url.path, 422, "invalid_request", detail, errors=errors)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    response = answer(request.url.path, error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The traceback is for the log; a client learns nothing of the inside.
    LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "Something went wrong here; the server's log says what."
    return answer(request.url.path, 500, "internal_error", detail)


def install(app: FastAPI) -> None:
    app.add_exception_handler(KallosError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
