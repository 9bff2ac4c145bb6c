"""What HTTP costs: the same vector queries in process and through `POST /search` of a real server.

Dimension key   Q queries, D embedding
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from benchmarks.load import Client, Load, drive, post
from benchmarks.stages import stages_us
from benchmarks.vectors import VectorSource
from indexer.collection.collection import Collection

K = 10
WARM_UP = 50
WARM_UP_S = 2.0
START_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Shared:
    """Clients and server on the same cores. `server_cpu_ms` is of one request."""

    load: Load
    server_cpu_ms: float


@dataclass(frozen=True, slots=True)
class RestResult:
    """Milliseconds and `stages_us` are of one client alone; `by_clients` by their number."""

    in_process_p50_ms: float
    in_process_cpu_ms: float
    rest_p50_ms: float
    rest_p99_ms: float
    stages_us: dict[str, float]
    by_clients: dict[str, Shared]
    restart_s: float


def measure_rest(
    data_dir: Path,
    collection: Collection,
    queries: int,
    clients: Sequence[int],
    recall: float,
    *,
    seconds: float = 10.0,
) -> RestResult:
    """`collection` is in `data_dir`; answers hold the metadata of K hits either way."""
    query_QD = VectorSource(collection.dim).queries(queries)
    for query_D in query_QD[:WARM_UP]:
        _ask_inside(collection, query_D, recall)
    cpu_s = time.process_time()
    inside_ms = [_timed(partial(_ask_inside, collection, query_D, recall)) for query_D in query_QD]
    cpu_s = time.process_time() - cpu_s
    requests = [post("/search", _body(query_D, recall)) for query_D in query_QD]
    with _server(data_dir, requests[0]) as server:
        drive(server.port, requests, 1, WARM_UP_S)
        alone = drive(server.port, requests, 1, seconds)
        stages = stages_us(server.port, requests)
        shared = {str(n): _share(server, requests, n, seconds) for n in clients}
    return RestResult(
        round(float(np.median(inside_ms)), 3),
        round(1e3 * cpu_s / len(query_QD), 3),
        alone.p50_ms,
        alone.p99_ms,
        stages,
        shared,
        round(server.started_s, 2),
    )


def _share(server: "Server", requests: Sequence[bytes], clients: int, seconds: float) -> Shared:
    drive(server.port, requests, clients, WARM_UP_S)
    before_s = server.cpu_s()
    load = drive(server.port, requests, clients, seconds)
    cpu_s = server.cpu_s() - before_s
    return Shared(load, round(1e3 * cpu_s / (load.requests_per_s * seconds), 3))


def _ask_inside(collection: Collection, query_D: Float32[ndarray, " d"], recall: float) -> None:
    snapshot = collection.snapshot()
    snapshot.rows(snapshot.nearest(query_D, K, recall=recall).ids_K)


def _body(query_D: Float32[ndarray, " d"], recall: float) -> bytes:
    vector = [round(float(number), 6) for number in query_D]
    return json.dumps({"query": [{"vector": vector}], "limit": K, "recall": recall}).encode()


def _timed(ask: Callable[[], None]) -> float:
    started = time.perf_counter()
    ask()
    return 1e3 * (time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Server:
    """`started_s` from its start to its first answer."""

    port: int
    pid: int
    started_s: float

    def cpu_s(self) -> float:
        """Processor time of all its threads until now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextmanager
def _server(data_dir: Path, request: bytes) -> Iterator[Server]:
    """`kallos serve` on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    environment = os.environ | {"KALLOS_DATA_DIR": str(data_dir), "KALLOS_RECALL_SAMPLE_SHARE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port)], env=environment
    )
    try:
        yield Server(port, process.pid, _first_answer(port, request, started))
    finally:
        process.terminate()
        process.wait()


def _first_answer(port: int, request: bytes, started: float) -> float:
    while time.perf_counter() - started < START_S:
        try:
            client = Client(port)
        except ConnectionError:
            time.sleep(0.01)
            continue
        client.ask(request)
        client.socket.close()
        return time.perf_counter() - started
    raise TimeoutError(f"the server did not answer within {START_S:g} s")
