"""Exact inner products with float16 rows, read where they lie: in a memory map.

Dimension key   N rows, D embedding, K results
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float16, Float32, Int64
from numpy import ndarray

from indexer.ann import faiss_interface as faiss
from indexer.ann.bitmap import Bitmap

# Walking the bitmap costs 1.8 ns a row and 250 ns a member, gathering 390 ns a member (1M x 512, one thread,
# page cache warm): below one member in 64 rows it is cheaper to fetch just those.
GATHER_SHARE = 1 / 64
GATHER_BLOCK = 16_384  # rows copied at a time
PROJECT_BLOCK = 1024  # rows put in order at a time, for the sake of their scores
SHARED_ROWS = 30_000  # fewer are scanned before a second thread has woken up
PARTS = 4
TIES = 16  # results beyond those asked for, so that equal scores at the end can be put in order


@dataclass(frozen=True, slots=True)
class Scored:
    """`scores_K` falling, equal ones by rising row."""

    scores_K: Float32[ndarray, " k"]
    rows_K: Int64[ndarray, " k"]

    @classmethod
    def best_of(cls, scores_N: Float32[ndarray, " n"], rows_N: Int64[ndarray, " n"], k: int) -> "Scored":
        order = np.lexsort((rows_N, -scores_N))[:k]
        return cls(scores_N[order], rows_N[order])


class Rows:
    """The rows of one collection at one moment. Every score that leaves the indexer is computed here.

    FAISS keeps the codes of its float16 scalar quantizer as plain float16 rows, which is what the file holds:
    they are scored with SIMD and without a copy.
    """

    def __init__(self, rows_ND: Float16[ndarray, "n d"], pool: Executor | None = None) -> None:
        self.rows_ND = rows_ND
        self.pool = pool  # for scans that are worth sharing

    def __len__(self) -> int:
        return len(self.rows_ND)

    @property
    def dim(self) -> int:
        return int(self.rows_ND.shape[1])

    def from_(self, begin: int) -> "Rows":
        return Rows(self.rows_ND[begin:], self.pool)

    def take(self, rows_N: Int64[ndarray, " n"]) -> Float32[ndarray, "n d"]:
        """Rows as float32, in the order asked for."""
        return self.rows_ND[rows_N].astype(np.float32)

    def best(self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap | None = None) -> Scored:
        """The `k` best of all rows, or of the allowed ones; fewer where there are fewer."""
        if allow is not None and allow.count <= GATHER_SHARE * len(self):
            return self.best_of(query_D, allow.rows(), k)
        if allow is not None and allow.is_full:
            allow = None
        many = len(self) if allow is None else allow.count
        if self.pool is None or many < SHARED_ROWS:
            return _search(self.index, query_D, k, _selector(allow, 0))

        def scan(part: "tuple[int, faiss.IndexScalarQuantizer]") -> Scored:
            first, index = part
            found = _search(index, query_D, k, _selector(allow, first))
            return Scored(found.scores_K, found.rows_K + first)

        found = list(self.pool.map(scan, self._parts))
        scores_N = np.concatenate([part.scores_K for part in found])
        return Scored.best_of(scores_N, np.concatenate([part.rows_K for part in found]), k)

    def best_of(self, query_D: Float32[ndarray, " d"], rows_N: Int64[ndarray, " n"], k: int) -> Scored:
        """The `k` best of `rows_N`, which hold no row twice."""
        found = [
            _search(_scanner(self.rows_ND[block]), query_D, k, None, names=block)
            for block in np.split(rows_N, range(GATHER_BLOCK, len(rows_N), GATHER_BLOCK))
        ]
        if len(found) == 1:
            return found[0]
        scores_N = np.concatenate([part.scores_K for part in found])
        return Scored.best_of(scores_N, np.concatenate([part.rows_K for part in found]), k)

    def project(
        self, direction_D: Float32[ndarray, " d"], rows_N: Int64[ndarray, " n"]
    ) -> Float32[ndarray, " n"]:
        """Inner product of each of `rows_N`, in any order, with `direction_D`: a query for all of them.

        To put a block in order costs less than what NumPy needs to widen its float16 numbers: this takes a
        seventh of the time.
        """
        score_N = np.empty(len(rows_N), np.float32)

        def fill(start: int) -> None:
            block = rows_N[start : start + GATHER_BLOCK]
            first, last = int(block[0]), int(block[-1]) + 1
            # A run of neighbours is read in place: gathering them costs as much as the arithmetic.
            is_run = last - first == len(block) and bool((block[1:] > block[:-1]).all())
            part_ND = self.rows_ND[first:last] if is_run else self.rows_ND[block]
            with no_team():
                for at in range(0, len(part_ND), PROJECT_BLOCK):
                    scanner = _scanner(part_ND[at : at + PROJECT_BLOCK])
                    found_1K, place_1K = scanner.search(direction_D[None, :], scanner.ntotal)
                    score_N[start + at + place_1K[0]] = found_1K[0]

        share = map if self.pool is None or len(rows_N) < SHARED_ROWS else self.pool.map
        deque(share(fill, range(0, len(rows_N), GATHER_BLOCK)), maxlen=0)
        return score_N

    @cached_property
    def _parts(self) -> "list[tuple[int, faiss.IndexScalarQuantizer]]":
        """The rows in PARTS runs that begin at whole bytes of a bitmap."""
        step = -(-len(self) // (8 * PARTS)) * 8
        return [(first, _scanner(self.rows_ND[first : first + step])) for first in range(0, len(self), step)]

    @cached_property
    def index(self) -> "faiss.IndexScalarQuantizer":
        return _scanner(self.rows_ND)


def _scanner(rows_ND: Float16[ndarray, "n d"]) -> "faiss.IndexScalarQuantizer":
    """A FAISS view of rows in memory; it keeps them alive."""
    count, dim = rows_ND.shape
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    if count:
        flat = rows_ND.view(np.uint8).reshape(-1)
        index.codes = faiss.MaybeOwnedVectorUInt8.create_view(
            faiss.swig_ptr(flat), flat.nbytes, index.codes.owner
        )
        index.ntotal = count
        index.referenced_objects = [flat]
    return index


def _selector(allow: Bitmap | None, first: int) -> "faiss.IDSelector | None":
    """Of the rows from `first`, which is a multiple of 8."""
    return None if allow is None else faiss.IDSelectorBitmap(allow.bytes_B[first // 8 :])


@contextmanager
def no_team() -> Iterator[None]:
    """FAISS starts a team of threads even for one query. On busy cores they wait for each other, spinning,
    and that takes five times the search. The setting is the calling thread's own.
    """
    team = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(team)


def _search(
    index: "faiss.IndexScalarQuantizer",
    query_D: Float32[ndarray, " d"],
    k: int,
    selector: "faiss.IDSelector | None",
    names: Int64[ndarray, " n"] | None = None,
) -> Scored:
    wanted = min(k + TIES, index.ntotal)
    if k <= 0 or wanted == 0:
        return Scored(np.empty(0, np.float32), np.empty(0, np.int64))
    parameters = None if selector is None else faiss.SearchParameters(sel=selector)
    with no_team():
        scores_1K, found_1K = index.search(query_D[None, :], wanted, params=parameters)
    real_K = found_1K[0] >= 0  # FAISS fills what it lacks with -1
    scores_K, rows_K = scores_1K[0][real_K], found_1K[0][real_K]
    return Scored.best_of(scores_K, rows_K if names is None else names[rows_K], k)
