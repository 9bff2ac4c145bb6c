"""Inverted files: rows in lists around centroids, kept as one bit (RaBitQ) or one byte (SQ8) a dimension.

A filter keeps the effort, not the number of lists: lists are opened, nearest first, until they have shown as
many allowed rows as an unfiltered search of that effort would see. A filter whose matches lie far from the
query opens far lists; lists without a match are never opened.

Dimension key   N rows, D embedding, L lists, K proposed rows
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

from indexer.ann import faiss_interface as faiss
from indexer.ann.bitmap import Bitmap
from indexer.ann.rows import Rows, single_threaded
from indexer.ann.segment import Estimated, Segment

FEW_LISTS = 256
SHARED_ROWS = 30_000  # fewer are looked at before a second thread has woken up
PARTS = 4


class Ivf:
    """A built inverted file, see `indexer.ann.build`, and the segments that followed it, in their order."""

    def __init__(self, index: Any, pool: Executor | None = None) -> None:  # noqa: ANN401 - a SWIG class
        self._index = index
        self._pool = pool  # for searches that are worth sharing
        self._segments: tuple[Segment, ...] = (Segment(index, 0),)
        self._lock = Lock()
        self._allowed: WeakKeyDictionary[Bitmap, Int64[ndarray, " l"]] = WeakKeyDictionary()

    @classmethod
    def load(cls, path: Path, pool: Executor | None = None) -> "Ivf":
        """Map a file whose checksum has been checked; its codes stay in the page cache."""
        return cls(faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC), pool)

    @property
    def extendable(self) -> "Ivf":
        return self

    def segment(self, rows: Rows, first: int, end: int, merged: Sequence[Segment] = ()) -> Segment:
        return Segment.over(rows, first, end, self._index, merged)

    def load_segment(self, path: Path, first: int) -> Segment:
        return Segment.load(path, first, self._index)

    def followed_by(self, segments: Sequence[Segment]) -> "Ivf":
        followed = Ivf(self._index, self._pool)
        followed._segments = (self._segments[0], *segments)
        return followed

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, path)

    @property
    def index(self) -> Any:  # noqa: ANN401
        """FAISS's own, for a clone of it."""
        return self._index

    @property
    def built(self) -> int:
        return self._segments[-1].end

    @property
    def filtered_effort(self) -> int:
        """Half of the lists, so all of a filter that allows half of all rows."""
        return -(-int(self._index.nlist) // 2)

    def filter_locality(self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap) -> float:
        lists_L, _ = self._nearest(query_D, effort)
        rows = self._size_L[lists_L].sum()
        allowed = self._allowed_per_list(allow)
        return float(allowed[lists_L].sum() * self.built / max(1, rows * allowed.sum()))

    def efforts(self) -> list[int]:
        steps = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
        lists = int(self._index.nlist)
        if lists > FEW_LISTS:  # opening most of many lists is slower than a scan
            return [step for step in steps if step <= lists // 2]
        return [step for step in steps if step < lists] + [lists]

    def candidates(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        if allow is None:
            return self._best(query_D, want, *self._nearest(query_D, effort), None)[1]
        lists_L, distance_L = self._lists_to_open(query_D, effort, allow)
        if self._pool is None or self._allowed_per_list(allow)[lists_L].sum() < SHARED_ROWS:
            return self._best(query_D, want, lists_L, distance_L, allow)[1]
        # Every part has its share of the near lists and of the far ones, so about that of the best rows.
        some = -(-want // PARTS)
        parts = [
            self._pool.submit(self._best, query_D, some, lists_L[at::PARTS], distance_L[at::PARTS], allow)
            for at in range(PARTS)
        ]
        return np.concatenate([part.result()[1] for part in parts])

    def _best(
        self,
        query_D: Float32[ndarray, " d"],
        want: int,
        lists_L: Int64[ndarray, " l"],
        distance_L: Float32[ndarray, " l"],
        allow: Bitmap | None,
    ) -> Estimated:
        """The `want` rows with the best estimated scores in these lists."""
        if len(lists_L) == 0:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        lists_L, distance_L = np.ascontiguousarray(lists_L), np.ascontiguousarray(distance_L)
        selector = None if allow is None else faiss.IDSelectorBitmap(allow.bytes_B)
        parameters = faiss.SearchParametersIVF(nprobe=len(lists_L), sel=selector)
        found = [part.best(query_D, want, lists_L, distance_L, parameters) for part in self._segments]
        return found[0] if len(found) == 1 else _merged(found, want)

    def _nearest(
        self, query_D: Float32[ndarray, " d"], count: int
    ) -> "tuple[Int64[ndarray, ' l'], Float32[ndarray, ' l']]":
        """The nearest lists, and how near."""
        with single_threaded():
            found = self._index.quantizer.search(query_D[None, :], min(count, self._index.nlist))
        return found[1][0], found[0][0]

    def _lists_to_open(
        self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap
    ) -> "tuple[Int64[ndarray, ' l'], Float32[ndarray, ' l']]":
        """Lists that hold allowed rows, nearest first, until enough of those are seen; and how near."""
        allowed_L = self._allowed_per_list(allow)
        enough = effort * self.built / self._index.nlist
        ask = min(4 * effort, self._index.nlist)
        while True:
            lists_L, distance_L = self._nearest(query_D, ask)
            holds_L = allowed_L[lists_L]
            opened = int(np.searchsorted(np.cumsum(holds_L), enough)) + 1
            if opened <= ask or ask == self._index.nlist:
                keep_L = np.flatnonzero(holds_L[:opened])
                return lists_L[keep_L], distance_L[keep_L]
            ask = min(4 * ask, self._index.nlist)

    def _allowed_per_list(self, allow: Bitmap) -> Int64[ndarray, " l"]:
        """How many allowed rows each list holds; kept as long as the bitmap lives."""
        with self._lock:
            known_L = self._allowed.get(allow)
            if known_L is None:
                known_L = self._count(allow.mask()[: self.built])
                self._allowed[allow] = known_L
        return known_L

    def _count(self, allowed_N: ndarray) -> Int64[ndarray, " l"]:
        """Whichever is fewer is counted: while pictures come, each search has new live ones, nearly all."""
        lists, of_row_N = self._index.nlist, self._list_of_row_N
        if 2 * np.count_nonzero(allowed_N) <= len(allowed_N):
            return np.bincount(of_row_N[allowed_N], minlength=lists)
        return self._size_L - np.bincount(of_row_N[~allowed_N], minlength=lists)

    @cached_property
    def _size_L(self) -> Int64[ndarray, " l"]:
        """How many rows each list holds."""
        return np.bincount(self._list_of_row_N, minlength=self._index.nlist)

    @cached_property
    def _list_of_row_N(self) -> Int32[ndarray, " n"]:
        return np.concatenate([part.list_of_row_N for part in self._segments])


def _merged(parts: Sequence[Estimated], want: int) -> Estimated:
    """The `want` best of all."""
    score_K = np.concatenate([scores_K for scores_K, _ in parts])
    row_K = np.concatenate([rows_K for _, rows_K in parts])
    if len(row_K) <= want:
        return score_K, row_K
    best_K = np.argpartition(-score_K, want - 1)[:want]
    return score_K[best_K], row_K[best_K]
