"""A navigable graph over the rows in vectors.f16: the file holds only the links.

Dimension key   D embedding, K proposed rows
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann import faiss_interface as faiss
from indexer.ann.bitmap import Bitmap
from indexer.ann.rows import Rows
from indexer.ann.segment import real

LINKS = 16
BUILD_QUEUE = 100
WIDEST = 8  # deleted rows widen the queue by the inverse of what is left, at most this many times


class Hnsw:
    """The graph of a build, walking over `rows`."""

    def __init__(self, index: Any, rows: Rows) -> None:  # noqa: ANN401 - a SWIG class
        self._index = index
        self._rows = rows  # the storage that the graph walks over

    @classmethod
    def load(cls, path: Path, rows: Rows) -> "Hnsw":
        """Read a graph whose checksum has been checked, and put the first of `rows` under it."""
        index = faiss.read_index(path, faiss.IO_FLAG_SKIP_STORAGE | faiss.IO_FLAG_MMAP_IFC)
        covered = Rows(rows.rows_ND[: index.ntotal])
        index.storage, index.own_fields = covered.index, False
        return cls(index, covered)

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, path, faiss.IO_FLAG_SKIP_STORAGE)

    @property
    def built(self) -> int:
        return int(self._index.ntotal)

    @property
    def filtered_effort(self) -> int:
        return 0  # its walk stays near the query, where a filter may allow nothing

    def filter_locality(self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap) -> float:
        return 0.0

    def efforts(self) -> list[int]:
        return [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]

    @property
    def extendable(self) -> None:
        return None

    def candidates(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        selector = None
        if allow is not None:
            selector = faiss.IDSelectorBitmap(allow.bytes_B)
            effort = int(effort * min(WIDEST, allow.size / max(1, allow.count)))
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, want), sel=selector)
        _, found_1K = self._index.search(query_D[None, :], min(want, self.built), params=parameters)
        return np.unique(real(found_1K[0]))
