"""The load generator of `kallos bench rest`, against a server that counts."""

from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from benchmarks.load import Client, drive, get, post

ANSWER = b"x" * 200_000  # comes in several pieces


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies: Counter[bytes]

    def do_POST(self) -> None:
        self.bodies[self.rfile.read(int(self.headers["content-length"]))] += 1
        self._answer(200)

    def do_GET(self) -> None:
        self._answer(404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Counting.bodies = Counter()
    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_every_client_asks_the_next_request_and_whole_answers_are_counted(port: int) -> None:
    load = drive(port, [post("/", b"one"), post("/", b"three")], clients=3, seconds=0.3)
    assert set(Counting.bodies) == {b"one", b"three"}
    assert abs(Counting.bodies[b"one"] - Counting.bodies[b"three"]) <= 3
    assert 0 < load.p50_ms <= load.p99_ms
    assert load.requests_per_s * 0.3 <= Counting.bodies.total() + 1
    assert load.client_cpu_us > 0


def test_an_answer_is_read_to_its_end_and_any_but_200_is_an_error(port: int) -> None:
    client = Client(port)
    client.ask(post("/", b"body"))
    assert client.body == ANSWER
    with pytest.raises(RuntimeError, match="404"):
        client.ask(get("/"))
    client.socket.close()
