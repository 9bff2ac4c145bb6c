"""Contenders that run in the process that asks: Kallos, raw FAISS, NumPy, hnswlib, usearch, LanceDB.

Dimension key   N rows, D embedding, K results
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float16, Float32, Int64
from numpy import ndarray

from benchmarks.contenders.contender import BUILD_QUEUE, GRAPH_EFFORTS, LINKS, Effort
from benchmarks.generated import blocks, open_generated, row_numbers, rows_of
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact


class InProcess:
    """What all of these share: nothing runs beside them."""

    alone: ClassVar[bool] = False
    servers: Sequence[int] = ()

    def close(self) -> None:
        """Memory goes with the process."""


class Kallos(InProcess):
    """A whole collection; `effort` is the recall that is asked for."""

    packages: ClassVar[Sequence[str]] = ()
    efforts: ClassVar[Sequence[Effort]] = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        collection = open_generated(data_dir, dim)
        compact(collection, Aims(memory_bytes=2**31, threads=2), family="ivf_rabitq")
        collection.close()
        return 0.0

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        return cls(open_generated(data_dir, dim))

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        return row_numbers(self.collection.snapshot().nearest(query_D, k, recall=effort).ids_K)


class RawFaiss(InProcess):
    """The same inverted file, read from the same file, refined by FAISS from the same rows: the floor."""

    packages: ClassVar[Sequence[str]] = ()
    efforts: ClassVar[Sequence[Effort]] = tuple(
        (probes, factor) for probes in (16, 32, 64, 128, 192, 256, 384, 512) for factor in (16, 32, 64)
    )

    def __init__(self, collection: Collection) -> None:
        import faiss

        from indexer.ann.rows import Rows

        manifest = collection.index_store.manifest(0)
        self._faiss = faiss
        self._ivf = faiss.read_index(str(collection.folder / manifest.index))
        rows_ND = np.memmap(collection.folder / "vectors.f16", np.float16, "r").reshape(-1, collection.dim)
        self._rows = Rows(rows_ND)
        self._index = faiss.IndexRefine(self._ivf, self._rows.index)

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        return 0.0  # it reads the file that Kallos built

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        return cls(open_generated(data_dir, dim))

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        probes, factor = effort
        parameters = self._faiss.IndexRefineSearchParameters(
            k_factor=factor, base_index_params=self._faiss.SearchParametersIVF(nprobe=probes)
        )
        return self._index.search(query_D[None, :], k, params=parameters)[1][0]


class BruteForce(InProcess):
    """NumPy over float32 blocks: exact, and what an afternoon's script would do."""

    packages: ClassVar[Sequence[str]] = ()
    efforts: ClassVar[Sequence[Effort]] = (1.0,)

    def __init__(self, rows_ND: Float16[ndarray, "n d"]) -> None:
        self._rows_ND = rows_ND

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        return 0.0

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        return cls(rows_of(data_dir, dim))

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        score_N = np.concatenate([block.astype(np.float32) @ query_D for _, block in blocks(self._rows_ND)])
        return np.argpartition(-score_N, k)[:k]


class Hnswlib(InProcess):
    packages: ClassVar[Sequence[str]] = ("hnswlib",)
    efforts: ClassVar[Sequence[Effort]] = GRAPH_EFFORTS

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - a foreign class
        self._index = index

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        import hnswlib

        rows_ND = rows_of(data_dir, dim)
        index = hnswlib.Index("ip", dim)
        index.init_index(len(rows_ND), M=LINKS, ef_construction=BUILD_QUEUE)
        for start, block in blocks(rows_ND):
            index.add_items(block.astype(np.float32), np.arange(start, start + len(block)))
        index.save_index(str(home / "index"))
        return 0.0

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        import hnswlib

        index = hnswlib.Index("ip", dim)
        index.load_index(str(home / "index"))
        return cls(index)

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        self._index.set_ef(int(effort))  # hnswlib knows no per-call setting
        return self._index.knn_query(query_D, k, num_threads=1)[0][0].astype(np.int64)


class Usearch(InProcess):
    packages: ClassVar[Sequence[str]] = ("usearch",)
    efforts: ClassVar[Sequence[Effort]] = GRAPH_EFFORTS

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - a foreign class
        self._index = index

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        index = cls._empty(dim)
        for start, block in blocks(rows_of(data_dir, dim)):
            index.add(np.arange(start, start + len(block)), block)
        index.save(str(home / "index"))
        return 0.0

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self:
        index = cls._empty(dim)
        index.load(str(home / "index"))
        return cls(index)

    @staticmethod
    def _empty(dim: int) -> Any:  # noqa: ANN401
        from usearch.index import Index

        return Index(ndim=dim, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD_QUEUE)

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        self._index.expansion_search = int(effort)
        return self._index.search(query_D.astype(np.float16), k, threads=1).keys.astype(np.int64)
