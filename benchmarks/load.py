"""Requests as fast as a server answers them, made before they are needed and sent from one thread."""

import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

OK = b"HTTP/1.1 200 "
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
RECEIVE = 1 << 16
SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """`client_cpu_us` of one request are the generator's own, on the cores that it shares with the server."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    client_cpu_us: float


class Client:
    """One kept connection, with one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._answer = b""

    @property
    def body(self) -> bytes:
        """Of the last answer."""
        return self._answer.partition(b"\r\n\r\n")[2]

    def ask(self, request: bytes) -> None:
        """Send, and wait for the whole answer."""
        self.send(request)
        while not self.receive():
            pass

    def send(self, request: bytes) -> None:
        self._answer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what is there; whether the answer is whole. RuntimeError for any other than 200."""
        part = self.socket.recv(RECEIVE)
        if not part:
            raise RuntimeError("the server closed a connection")
        self._answer += part
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return False
        length = LENGTH.search(head + b"\r\n")
        if not head.startswith(OK) or length is None:
            raise RuntimeError(f"expected an answer 200 with a length, got {self._answer[:300]!r}")
        return len(body) >= int(length[1])


def post(path: str, body: bytes) -> bytes:
    """The bytes of one request."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """The bytes of one request."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def drive(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """`clients` connections that each send the next of `requests` as soon as their answer is there."""
    following = cycle(requests)
    took_s: list[float] = []
    with selectors.DefaultSelector() as ready:
        everyone = [Client(port) for _ in range(clients)]
        cpu_s, started = time.process_time(), time.perf_counter()
        for client in everyone:
            ready.register(client.socket, selectors.EVENT_READ, client)
            client.send(next(following))
        while time.perf_counter() < started + seconds:
            for key, _ in _events(ready):
                client = key.data
                if client.receive():
                    took_s.append(time.perf_counter() - client.sent_at)
                    client.send(next(following))
        elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
        for client in everyone:
            client.socket.close()
    took_ms = 1e3 * np.array(took_s)
    return Load(
        round(len(took_s) / elapsed_s, 1),
        round(float(np.median(took_ms)), 3),
        round(float(np.quantile(took_ms, 0.99)), 3),
        round(1e6 * cpu_s / len(took_s), 1),
    )


def _events(ready: selectors.BaseSelector) -> "list[tuple[selectors.SelectorKey, int]]":
    events = ready.select(SILENCE_S)
    if not events:
        raise TimeoutError(f"the server did not answer within {SILENCE_S:g} s")
    return events
