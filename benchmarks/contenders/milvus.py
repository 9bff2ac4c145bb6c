"""Milvus: the standalone server from the package `milvus`, under the client that its users have.

It listens on every interface, so it runs in a network of its own (`alone`). An open port means nothing: the
collection is loaded for half a minute after that, so readiness is a search that answers.

Dimension key   D embedding, K results
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from benchmarks.contenders.contender import BUILD_QUEUE, GRAPH_EFFORTS, LINKS, Effort
from benchmarks.generated import blocks, rows_of
from benchmarks.processes import cpu_s_of
from indexer.errors import UnavailableError

NAME = "picture"
READY_S = 300.0
INSERT = 5_000  # rows a call: one may hold 64 MB
BUILD_S = 3 * 3600.0


class Milvus:
    """An HNSW index over float32 vectors, which is all that this version stores."""

    packages: ClassVar[Sequence[str]] = ("milvus", "pymilvus")
    efforts: ClassVar[Sequence[Effort]] = GRAPH_EFFORTS
    alone: ClassVar[bool] = True

    def __init__(self, server: Any, client: Any) -> None:  # noqa: ANN401 - neither has types
        self._server = server
        self._client = client

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        one = cls(*_start(home))
        try:
            _load(one._client, data_dir, dim)
            return cpu_s_of(one.servers[0])
        finally:
            one.close()

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        one = cls(*_start(home))
        _wait(lambda: bool(len(one.search(np.ones(dim, np.float32), 1, GRAPH_EFFORTS[0]))), READY_S)
        return one

    @property
    def servers(self) -> Sequence[int]:
        return (self._server.server_proc.pid,)

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        (hits,) = self._client.search(
            NAME,
            [query_D],
            limit=k,
            search_params={"metric_type": "IP", "params": {"ef": max(int(effort), k)}},
            consistency_level="Eventually",  # nothing is written: no need to wait for anybody
        )
        return np.array([hit["id"] for hit in hits], np.int64)

    def close(self) -> None:
        self._client.close()
        self._server.stop()


def _start(home: Path) -> tuple[Any, Any]:
    from milvus import MilvusServer
    from pymilvus import MilvusClient

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints a traceback for every retry
    server = MilvusServer()
    server.set_base_dir(str(home / "server"))
    server.start()
    address = f"http://127.0.0.1:{server.listen_port}"
    clients: list[Any] = []

    def connected() -> bool:
        clients.append(MilvusClient(address))
        return True

    _wait(connected, READY_S)
    return server, clients[0]


def _load(client: Any, data_dir: Path, dim: int) -> None:  # noqa: ANN401
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    client.create_collection(NAME, schema=schema)
    for first, block_ND in blocks(rows_of(data_dir, dim)):
        for start in range(0, len(block_ND), INSERT):
            part_ND = block_ND[start : start + INSERT].astype(np.float32)
            rows = [{"id": first + start + i, "vector": vector_D} for i, vector_D in enumerate(part_ND)]
            client.insert(NAME, rows)
    client.flush(NAME)
    parameters = client.prepare_index_params()
    parameters.add_index(
        "vector",
        index_type="HNSW",
        metric_type="IP",
        index_name="graph",
        params={"M": LINKS, "efConstruction": BUILD_QUEUE},
    )
    client.create_index(NAME, parameters, timeout=BUILD_S)
    _wait(lambda: client.describe_index(NAME, "graph")["pending_index_rows"] == 0, BUILD_S)
    client.load_collection(NAME, timeout=BUILD_S)


def _wait(ready: "Any", most_s: float) -> None:  # noqa: ANN401
    """Until `ready` is true and raises nothing."""
    from pymilvus.exceptions import MilvusException

    until = time.monotonic() + most_s
    last = "it answered nothing"
    while time.monotonic() < until:
        try:
            if ready():
                return
        except MilvusException as error:
            last = str(error)
        time.sleep(0.5)
    raise UnavailableError(f"Milvus was not ready within {most_s:g} s: {last}")
