"""LanceDB: a table in files, in the process that asks.

Dimension key   D embedding, K results
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from benchmarks.contenders.contender import Effort
from benchmarks.contenders.libraries import InProcess
from benchmarks.generated import blocks, rows_of

TABLE = "picture"


class LanceDb(InProcess):
    """IVF_RQ, refined from the rows: Kallos's own family, and as fast here as its graphs at high recall.

    float32 rows, as its wheels compute float16 ones without SIMD: k-means then took 60 times as long.
    """

    packages: ClassVar[Sequence[str]] = ("lancedb",)
    efforts: ClassVar[Sequence[Effort]] = tuple(
        (probes, factor) for probes in (8, 16, 32, 64, 128, 256) for factor in (8, 32)
    )

    def __init__(self, table: Any) -> None:  # noqa: ANN401 - a foreign class
        self._table = table

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        import lancedb
        import pyarrow as pa
        from lancedb.index import IvfRq

        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])

        def batches() -> Iterator[Any]:
            for start, block_ND in blocks(rows_of(data_dir, dim)):
                numbers = pa.array(block_ND.astype(np.float32).reshape(-1))
                ids = pa.array(np.arange(start, start + len(block_ND)))
                yield pa.record_batch([ids, pa.FixedSizeListArray.from_arrays(numbers, dim)], schema=schema)

        table = lancedb.connect(home / "lance").create_table(TABLE, batches(), schema=schema)
        lists = int(np.sqrt(table.count_rows()))  # as its documentation advises
        config = IvfRq(
            distance_type="dot", num_partitions=lists, num_bits=1, sample_rate=64, max_iterations=10
        )
        table.create_index("vector", config=config)
        return 0.0

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        import lancedb

        return cls(lancedb.connect(home / "lance").open_table(TABLE))

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        probes, factor = effort
        asked = self._table.search(query_D).distance_type("dot").nprobes(probes).refine_factor(factor)
        return asked.limit(k).select(["id", "_distance"]).to_arrow()["id"].to_numpy()
