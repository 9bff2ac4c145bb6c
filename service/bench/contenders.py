"""Engines that answer the same question, each tuned by one knob: Kallos, raw FAISS, NumPy, hnswlib, usearch.

Dimension key   N rows, D embedding, K results
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float16, Float32, Int64
from numpy import ndarray

from indexer.collection import Collection
from indexer.compaction import Aims, compact
from indexer.types import NewImage
from service.bench.vectors import VectorSource

LINKS = 16  # of every graph
BUILD_QUEUE = 100
GRAPH_EFFORTS = (16, 32, 64, 128, 256, 512, 1024)


Effort = Any
"""The one knob: a recall, a queue length, or (lists probed, candidates for each result)."""


class Contender(Protocol):
    """Made over all rows; then asked one query at a time, from several threads."""

    @property
    def efforts(self) -> Sequence[Effort]: ...

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]: ...


class Kallos:
    """A whole collection; `effort` is the recall that is asked for."""

    efforts: Sequence[Effort] = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        return self._collection.view().search(query_D, k, recall=effort).slots_K


class RawFaiss:
    """The same inverted file, read from the same file, refined by FAISS from the same rows: the floor."""

    efforts: Sequence[Effort] = tuple(
        (probes, factor) for probes in (16, 32, 64, 128, 192, 256, 384, 512) for factor in (16, 32, 64)
    )

    def __init__(self, collection: Collection) -> None:
        import faiss

        from indexer.ann.rows import Rows

        manifest = collection.snapshots.manifest(0)
        self._faiss = faiss
        self._ivf = faiss.read_index(str(collection.folder / manifest.index))
        self._rows = Rows(
            np.memmap(collection.folder / "vectors.f16", np.float16, "r").reshape(-1, collection.dim)
        )
        self._index = faiss.IndexRefine(self._ivf, self._rows.index)

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        probes, factor = effort
        parameters = self._faiss.IndexRefineSearchParameters(
            k_factor=factor, base_index_params=self._faiss.SearchParametersIVF(nprobe=probes)
        )
        return self._index.search(query_D[None, :], k, params=parameters)[1][0]


class BruteForce:
    """NumPy over float32 blocks: exact, and what an afternoon's script would do."""

    efforts: Sequence[Effort] = (1.0,)
    BLOCK = 65_536

    def __init__(self, rows_ND: Float16[ndarray, "n d"]) -> None:
        self._rows_ND = rows_ND

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        score_N = np.concatenate(
            [
                self._rows_ND[start : start + self.BLOCK].astype(np.float32) @ query_D
                for start in range(0, len(self._rows_ND), self.BLOCK)
            ]
        )
        return np.argpartition(-score_N, k)[:k]


class Hnswlib:
    efforts: Sequence[Effort] = GRAPH_EFFORTS

    def __init__(self, rows_ND: Float16[ndarray, "n d"]) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", rows_ND.shape[1])
        self._index.init_index(len(rows_ND), M=LINKS, ef_construction=BUILD_QUEUE)
        for start in range(0, len(rows_ND), 50_000):
            block = rows_ND[start : start + 50_000].astype(np.float32)
            self._index.add_items(block, np.arange(start, start + len(block)))

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        self._index.set_ef(int(effort))  # hnswlib knows no per-call setting
        return self._index.knn_query(query_D, k, num_threads=1)[0][0].astype(np.int64)


class Usearch:
    efforts: Sequence[Effort] = GRAPH_EFFORTS

    def __init__(self, rows_ND: Float16[ndarray, "n d"]) -> None:
        from usearch.index import Index

        self._index = Index(
            ndim=rows_ND.shape[1], metric="ip", dtype="f16", connectivity=LINKS, expansion_add=BUILD_QUEUE
        )
        for start in range(0, len(rows_ND), 50_000):
            block = np.asarray(rows_ND[start : start + 50_000])
            self._index.add(np.arange(start, start + len(block)), block)

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]:
        self._index.expansion_search = int(effort)
        return self._index.search(query_D.astype(np.float16), k, threads=1).keys.astype(np.int64)


def fill(data_dir: Path, count: int, dim: int, model_id: str | None = None) -> Collection:
    """A collection of `count` generated pictures, taken up where an earlier call left it."""
    collection = Collection.open(data_dir, model_id=model_id or f"generated-{dim}", dim=dim)
    have = collection.state().slots
    for chunk in VectorSource(dim).chunks(count, after=have):
        images = [_image(chunk.first + i, int(theme)) for i, theme in enumerate(chunk.theme_N)]
        collection.add(images, chunk.vectors_ND)
    return collection


def _image(number: int, theme: int) -> NewImage:
    return NewImage(
        uri=f"/generated/{number}.jpg",
        sha256=f"{number:064x}",
        size=100_000,
        mtime_ns=1,
        width=640,
        height=480,
        format="jpeg",
        taken_at=float(number),
        metadata={"theme": theme, "uniform": (number * 7919) % 100_003 / 100_003},
    )


def rows_of(data_dir: Path, dim: int) -> Float16[ndarray, "n d"]:
    return np.memmap(data_dir / "default" / "vectors.f16", np.float16, "r").reshape(-1, dim)


def _kallos(data_dir: Path, dim: int) -> Contender:
    collection = Collection.open(data_dir, model_id=f"generated-{dim}", dim=dim)
    if collection.view().built == 0:
        compact(collection, Aims(memory_bytes=2**31, threads=2), family="ivf_rabitq")
    return Kallos(collection)


def _raw_faiss(data_dir: Path, dim: int) -> Contender:
    return RawFaiss(Collection.open(data_dir, model_id=f"generated-{dim}", dim=dim))


# In this order: raw FAISS reads the file that Kallos built.
CONTENDERS: Mapping[str, Callable[[Path, int], Contender]] = {
    "kallos": _kallos,
    "faiss": _raw_faiss,
    "numpy": lambda data_dir, dim: BruteForce(rows_of(data_dir, dim)),
    "hnswlib": lambda data_dir, dim: Hnswlib(rows_of(data_dir, dim)),
    "usearch": lambda data_dir, dim: Usearch(rows_of(data_dir, dim)),
}
