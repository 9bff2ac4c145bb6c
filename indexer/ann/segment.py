"""Rows in the lists of an inverted file: those it was built over, and those that came behind them later.

A later segment has lists of its own and the centroids of the file that it follows, so one look at the
centroids serves all of them, and two neighbours become one by copying codes. What is expensive about an
index, finding the centroids, is not done again.

Dimension key   N rows, D embedding, L lists, K proposed rows
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

from indexer.ann import faiss_interface as faiss
from indexer.ann.rows import Rows, no_team
from indexer.errors import CorruptStoreError

CODES = {"ivf_rabitq": "RaBitQ", "ivf_sq8": "SQ8"}
CHUNK = 16_384

Estimated = tuple[Float32[ndarray, " k"], Int64[ndarray, " k"]]
"""Estimated scores, and the rows that have them."""


class Segment:
    """Rows [first, end) in lists. Immutable once made; safe to search from threads."""

    def __init__(self, index: Any, first: int, stored: Any = None) -> None:  # noqa: ANN401 - SWIG classes
        self.index = index
        self.first = first
        self.end = first + int(index.ntotal)
        self._stored = stored  # keeps the lists alive

    @classmethod
    def load(cls, path: Path, first: int, base: Any) -> "Segment":  # noqa: ANN401
        """Map a file whose checksum has been checked, for the centroids of `base`."""
        stored = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
        if stored.nlist != base.nlist or stored.code_size != base.code_size:
            raise CorruptStoreError(f"{path} has other lists than the index it follows")
        index = _empty(base)
        index.replace_invlists(stored.invlists, False)
        index.ntotal = stored.ntotal
        return cls(index, first, stored)

    @classmethod
    def over(
        cls,
        rows: Rows,
        first: int,
        end: int,
        base: Any,  # noqa: ANN401
        merged: "Sequence[Segment]" = (),
    ) -> "Segment":
        """Rows [first, end), and those of `merged`, its neighbours in rising order before `first`.

        It is made in the calling thread alone, which is one that writes while others search.
        """
        index = _empty(base)
        with no_team():
            for old in merged:
                whole = (faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, old.first, old.end)
                index.ntotal += old.index.invlists.copy_subset_to(index.invlists, *whole)
            for start in range(first, end, CHUNK):
                block_BD = rows.rows_ND[start : min(start + CHUNK, end)].astype(np.float32)
                list_B = np.ascontiguousarray(base.quantizer.search(block_BD, 1)[1][:, 0])
                add(index, block_BD, start, list_B)
        return cls(index, merged[0].first if merged else first)

    def save(self, path: Path) -> None:
        """All but the centroids."""
        index = _empty(self.index, faiss.IndexFlatIP(self.index.d))
        index.replace_invlists(self.index.invlists, False)
        index.ntotal = self.index.ntotal
        faiss.write_index(index, path)

    def best(
        self,
        query_D: Float32[ndarray, " d"],
        want: int,
        lists_L: Int64[ndarray, " l"],
        distance_L: Float32[ndarray, " l"],
        parameters: Any,  # noqa: ANN401
    ) -> "Estimated":
        """The `want` best in these lists, best first."""
        want = min(want, self.end - self.first)
        found_K, score_K = np.empty(want, np.int64), np.empty(want, np.float32)
        # FAISS's Python method takes no parameters here; the C++ one does.
        self.index.search_preassigned_c(
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
        real_K = found_K >= 0  # FAISS fills what it lacks with -1
        return score_K[real_K], found_K[real_K]

    @cached_property
    def list_of_row_N(self) -> Int32[ndarray, " n"]:
        """The list of each row from `first`."""
        invlists = self.index.invlists
        list_of_row_N = np.zeros(self.end - self.first, np.int32)
        for number in range(self.index.nlist):
            size = invlists.list_size(number)
            if size:
                rows_N = faiss.rev_swig_ptr(invlists.get_ids(number), size)
                list_of_row_N[rows_N - self.first] = number
        return list_of_row_N


def add(index: Any, block_BD: Float32[ndarray, "b d"], first: int, list_B: Int64[ndarray, " b"]) -> None:  # noqa: ANN401
    """Put rows `first`, `first` + 1, … into their lists."""
    row_B = np.arange(first, first + len(list_B))
    index.add_core(len(list_B), faiss.swig_ptr(block_BD), faiss.swig_ptr(row_B), faiss.swig_ptr(list_B))


def _empty(base: Any, quantizer: Any = None) -> Any:  # noqa: ANN401
    """An inverted file with the codes and, unless others are given, the centroids of `base`, without rows."""
    quantizer = base.quantizer if quantizer is None else quantizer
    shape = (quantizer, base.d, base.nlist)
    if isinstance(base, faiss.IndexIVFScalarQuantizer):
        index = faiss.IndexIVFScalarQuantizer(*shape, base.sq.qtype, base.metric_type)
        faiss.copy_array_to_vector(faiss.vector_to_array(base.sq.trained), index.sq.trained)
    else:
        index = faiss.IndexIVFRaBitQ(*shape, base.metric_type)
    index.is_trained = True
    index.referenced_objects = [base, quantizer]  # whose centroids it reads
    return index


def real(found_K: Int64[ndarray, " k"]) -> Int64[ndarray, " k"]:
    return found_K[found_K >= 0]  # FAISS fills what it lacks with -1
