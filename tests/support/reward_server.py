"""A reward server on this machine that speaks the wire format of docs/rewards.md, or misbehaves as told.

The score of a picture is the mean of its red channel, and one for each word of its prompt. What the server
does is the path of its URL.
"""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

PAUSE_S = 60.0  # of a slow server; far beyond any deadline in the tests


@dataclass
class RewardServer:
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.port}/{behaviour}"


def red_and_words(body: dict[str, Any]) -> list[float]:
    scores = []
    for picture, prompt in zip(body["pictures"], body["prompts"], strict=True):
        pixels_HW3 = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)), formats=["PNG"]))
        scores.append(float(pixels_HW3[..., 0].mean()) + len(prompt.split()))
    return scores


class _Handler(BaseHTTPRequestHandler):
    state: RewardServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.bodies.append(body)
        try:
            BEHAVIOURS[self.path.strip("/")](self, body)
        except (BrokenPipeError, ConnectionResetError):
            return  # the other side has had enough

    def reply(self, body: object, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


def _well(handler: _Handler, body: dict[str, Any]) -> None:
    handler.reply({"scores": red_and_words(body)})


def _slow(handler: _Handler, body: dict[str, Any]) -> None:
    handler.state.ending.wait(PAUSE_S)
    _well(handler, body)


def _busy_then_well(handler: _Handler, body: dict[str, Any]) -> None:
    if len(handler.state.bodies) < 3:
        handler.reply(b"starting", 503 if len(handler.state.bodies) == 1 else 429)
    else:
        _well(handler, body)


BEHAVIOURS: dict[str, Callable[[_Handler, dict[str, Any]], None]] = {
    "well": _well,
    "slow": _slow,
    "busy-then-well": _busy_then_well,
    "500": lambda handler, _: handler.reply(b"oh no", 500),
    "404": lambda handler, _: handler.reply(b"where", 404),
    "garbage": lambda handler, _: handler.reply(b"\x00\xff{{{{"),
    "list": lambda handler, _: handler.reply([1.0]),
    "short": lambda handler, body: handler.reply({"scores": red_and_words(body)[1:]}),
    "text": lambda handler, body: handler.reply({"scores": ["1.0" for _ in body["prompts"]]}),
    "nan": lambda handler, body: handler.reply({"scores": [float("nan") for _ in body["prompts"]]}),
    "true": lambda handler, body: handler.reply({"scores": [True for _ in body["prompts"]]}),
    "vast": lambda handler, body: handler.reply({"scores": [10**400 for _ in body["prompts"]]}),
    "huge": lambda handler, _: handler.reply(b" " * (2 << 20)),
}


@contextmanager
def reward_server() -> Iterator[RewardServer]:
    state = RewardServer()
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
