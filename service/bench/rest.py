"""What HTTP costs: the same vector queries in process and through `POST /search` of a real server.

Dimension key   Q queries, D embedding
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection import Collection
from service.bench.vectors import VectorSource

K = 10
WARM_UP = 50
START_S = 60.0


@dataclass(frozen=True, slots=True)
class RestResult:
    """Milliseconds are of one client alone; `requests_per_s` by number of clients, who share the cores."""

    in_process_p50_ms: float
    rest_p50_ms: float
    rest_p99_ms: float
    requests_per_s: dict[str, float]
    restart_s: float


def measure_rest(
    data_dir: Path, collection: Collection, queries: int, clients: Sequence[int], recall: float
) -> RestResult:
    """`collection` is in `data_dir`; answers hold the metadata of K hits either way."""
    query_QD = VectorSource(collection.dim).queries(queries)
    bodies = [_body(query_D, recall) for query_D in query_QD]
    inside_ms = [_timed(partial(_ask_inside, collection, query_D, recall)) for query_D in query_QD]
    with _server(data_dir, bodies[0]) as (port, restart_s):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body in bodies[:WARM_UP]:
            _ask(connection, body)
        outside_ms = [_timed(partial(_ask, connection, body)) for body in bodies]
        rates = {str(n): round(_rate(port, bodies, n), 1) for n in clients}
    return RestResult(
        round(float(np.median(inside_ms[WARM_UP:])), 3),
        round(float(np.median(outside_ms)), 3),
        round(float(np.quantile(outside_ms, 0.99)), 3),
        rates,
        round(restart_s, 2),
    )


def _ask_inside(collection: Collection, query_D: Float32[ndarray, " d"], recall: float) -> None:
    view = collection.view()
    view.rows_at(view.search(query_D, K, recall=recall).slots_K)


def _body(query_D: Float32[ndarray, " d"], recall: float) -> bytes:
    vector = [round(float(number), 6) for number in query_D]
    return json.dumps({"query": [{"vector": vector}], "limit": K, "recall": recall}).encode()


def _ask(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/search", body, {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(f"POST /search answered {response.status}: {text[:200]!r}")


def _timed(ask: Callable[[], None]) -> float:
    started = time.perf_counter()
    ask()
    return 1e3 * (time.perf_counter() - started)


def _rate(port: int, bodies: list[bytes], clients: int) -> float:
    """Requests a second of `clients` that each keep a connection and wait for their answers."""

    def work(share: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body in share:
            _ask(connection, body)

    shares = [list(islice(cycle(bodies[first:] + bodies[:first]), len(bodies))) for first in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        list(pool.map(work, shares))
        return clients * len(bodies) / (time.perf_counter() - started)


@contextmanager
def _server(data_dir: Path, body: bytes) -> "Iterator[tuple[int, float]]":
    """`kallos serve` on a free port, and the seconds from its start to its first answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    environment = os.environ | {"KALLOS_DATA_DIR": str(data_dir), "KALLOS_RECALL_SAMPLE_SHARE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port)], env=environment
    )
    try:
        yield port, _first_answer(port, body, started)
    finally:
        process.terminate()
        process.wait()


def _first_answer(port: int, body: bytes, started: float) -> float:
    while time.perf_counter() - started < START_S:
        try:
            _ask(http.client.HTTPConnection("127.0.0.1", port), body)
        except ConnectionError:
            time.sleep(0.01)
        else:
            return time.perf_counter() - started
    raise TimeoutError(f"the server did not answer within {START_S:g} s")
