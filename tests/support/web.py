"""A web server on this machine that misbehaves on request."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.files import encoded, noise

PNG = encoded(noise(0))


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body = {
            "/a.png": (200, {}, PNG),
            "/away": (302, {"Location": "/a.png"}, b""),
            "/round": (302, {"Location": "/round"}, b""),
            "/nowhere": (302, {"Location": "http://[x/"}, b""),
            "/shy.png": (200, {"X-Robots-Tag": "noai"}, PNG),
            "/endless.png": (200, {}, b"x" * 3_000_000),
        }.get(self.path, (404, {}, b"nothing"))
        if self.path == "/slow.png":
            self._drip()
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        """A byte now and then: never so long without one that a wait for the next ends."""
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):  # until the server has stopped
            for number in range(100):
                self.wfile.write(PNG[number : number + 1])
                time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def web_server() -> Iterator[str]:
    """Its address, such as `http://127.0.0.1:43210`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
