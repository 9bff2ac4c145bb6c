"""Inverted files: rows in lists around centroids, kept as one bit (RaBitQ) or one byte (SQ8) a dimension.

A filter keeps the effort, not the number of lists: lists are opened, nearest first, until they have shown as
many allowed rows as an unfiltered search of that effort would see. A filter whose matches lie far from the
query opens far lists; lists without a match are never opened.

Dimension key   N rows, D embedding, L lists, K proposed rows
"""

from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import faiss
import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

from indexer.bitmap import Bitmap
from indexer.errors import CorruptStoreError

FEW_LISTS = 256
CODES = {"ivf_rabitq": "RaBitQ", "ivf_sq8": "SQ8"}


class Ivf:
    """A built inverted file; see `indexer.ann.build` for how it comes to be."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - a SWIG class
        self._index = index
        self._lock = Lock()
        self._list_of_row_N: Int32[ndarray, " n"] | None = None
        self._size_L: Int64[ndarray, " l"] | None = None
        self._allowed: WeakKeyDictionary[Bitmap, Int64[ndarray, " l"]] = WeakKeyDictionary()

    @classmethod
    def load(cls, path: Path) -> "Ivf":
        """Map a file whose checksum has been checked; its codes stay in the page cache."""
        return cls(read_index(path, faiss.IO_FLAG_MMAP_IFC))

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @property
    def index(self) -> Any:  # noqa: ANN401
        """FAISS's own, for a clone of it."""
        return self._index

    @property
    def built(self) -> int:
        return int(self._index.ntotal)

    @property
    def widest(self) -> int:
        """Half of the lists, so all of a filter that allows half of all rows."""
        return -(-int(self._index.nlist) // 2)

    def nearness(self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap) -> float:
        _, nearest_1L = self._index.quantizer.search(query_D[None, :], min(effort, self._index.nlist))
        rows = self._sizes()[nearest_1L[0]].sum()
        allowed = self._allowed_per_list(allow)
        return float(allowed[nearest_1L[0]].sum() * self.built / max(1, rows * allowed.sum()))

    def efforts(self) -> list[int]:
        steps = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
        lists = int(self._index.nlist)
        if lists > FEW_LISTS:  # opening most of many lists is slower than a scan
            return [step for step in steps if step <= lists // 2]
        return [step for step in steps if step < lists] + [lists]

    def propose(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        want = min(want, self.built)
        effort = min(effort, self._index.nlist)
        if allow is None:
            parameters = faiss.SearchParametersIVF(nprobe=effort)
            _, found_1K = self._index.search(query_D[None, :], want, params=parameters)
            return real(found_1K[0])
        lists_L, distance_L = self._lists_to_open(query_D, effort, allow)
        if len(lists_L) == 0:
            return np.empty(0, np.int64)
        parameters = faiss.SearchParametersIVF(nprobe=len(lists_L), sel=faiss.IDSelectorBitmap(allow.bytes_B))
        found_K, score_K = np.empty(want, np.int64), np.empty(want, np.float32)
        # FAISS's Python method takes no parameters here; the C++ one does.
        self._index.search_preassigned_c(
            1,
            faiss.swig_ptr(query_D),
            want,
            faiss.swig_ptr(lists_L),
            faiss.swig_ptr(distance_L),
            faiss.swig_ptr(score_K),
            faiss.swig_ptr(found_K),
            False,
            parameters,
        )
        return real(found_K)

    def _lists_to_open(
        self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap
    ) -> "tuple[Int64[ndarray, ' l'], Float32[ndarray, ' l']]":
        """Lists that hold allowed rows, nearest first, until enough of those are seen; and how near."""
        allowed_L = self._allowed_per_list(allow)
        enough = effort * self.built / self._index.nlist
        ask = min(4 * effort, self._index.nlist)
        while True:
            distance_1L, nearest_1L = self._index.quantizer.search(query_D[None, :], ask)
            holds_L = allowed_L[nearest_1L[0]]
            opened = int(np.searchsorted(np.cumsum(holds_L), enough)) + 1
            if opened <= ask or ask == self._index.nlist:
                keep_L = np.flatnonzero(holds_L[:opened])
                return nearest_1L[0][keep_L], distance_1L[0][keep_L]
            ask = min(4 * ask, self._index.nlist)

    def _allowed_per_list(self, allow: Bitmap) -> Int64[ndarray, " l"]:
        """How many allowed rows each list holds; kept as long as the bitmap lives."""
        with self._lock:
            known_L = self._allowed.get(allow)
            if known_L is None:
                list_of_row_N = self._lists()
                members_N = allow.below(self.built).rows()
                known_L = np.bincount(list_of_row_N[members_N], minlength=self._index.nlist)
                self._allowed[allow] = known_L
        return known_L

    def _sizes(self) -> Int64[ndarray, " l"]:
        """How many rows each list holds."""
        if self._size_L is None:
            self._size_L = np.bincount(self._lists(), minlength=self._index.nlist)
        return self._size_L

    def _lists(self) -> Int32[ndarray, " n"]:
        if self._list_of_row_N is None:
            invlists = self._index.invlists
            list_of_row_N = np.zeros(self.built, np.int32)
            for number in range(self._index.nlist):
                size = invlists.list_size(number)
                if size:
                    list_of_row_N[faiss.rev_swig_ptr(invlists.get_ids(number), size)] = number
            self._list_of_row_N = list_of_row_N
        return self._list_of_row_N


def read_index(path: Path, flags: int) -> Any:  # noqa: ANN401
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise CorruptStoreError(f"{path} is not a FAISS index: {error}") from error


def real(found_K: Int64[ndarray, " k"]) -> Int64[ndarray, " k"]:
    return found_K[found_K >= 0]  # FAISS fills what it lacks with -1
