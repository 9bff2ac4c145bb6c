"""The best rows for a direction: an index proposes candidates, their exact scores decide.

Dimension key   N rows, D embedding, K results
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.index import ActiveIndex, CandidateGenerator, Point
from indexer.ann.rows import Rows, Scored
from indexer.protocols import EXACT

# So many eligible pictures are scored within 10 ms wherever they lie, and nothing is lost. More of them take
# less CPU time through an index.
EXACT_ROWS = 30_000
FACTORS = (1, 2)  # times the effort of an unfiltered search
NEAR = 0.5  # of the share of allowed rows in the collection: with fewer near a query, they lie elsewhere
WANT_LEAST = 32  # candidates for each result under a filter
WIDE_WANT = 16  # far from the query scores lie close together, and codes tell them apart less well


@dataclass(frozen=True, slots=True)
class Found:
    """`candidates` rows were scored exactly: all that may come (`exact`), or an index's choice (`top_k`)."""

    best: Scored
    mode: Literal["exact", "top_k"]
    candidates: int


class Candidates:
    """Searches the rows of one version of a collection. Immutable, so safe to use from threads."""

    def __init__(self, rows: Rows, alive: Bitmap, index: ActiveIndex | None, exact_rows: int) -> None:
        """`alive` are the rows that may come at all; up to `exact_rows` of them are scanned exactly."""
        self._rows = rows
        self._alive = alive
        self._index = index
        self._exact_rows = exact_rows
        self._covered_rows = 0 if index is None else index.covered_rows
        self._tail = rows.from_(self._covered_rows - self._covered_rows % 8)  # whole bytes of a bitmap

    def best(self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap, recall: float) -> Found:
        """The `k` allowed rows with the largest inner product, best first.

        Few eligible rows, no index, or none that reaches `recall`: all are scored. Otherwise the index
        proposes candidates for the rows it covers, an exact scan finds those behind it, and all candidates
        are scored exactly.
        """
        index = self._index
        if index is None or recall >= EXACT or k >= self._covered_rows // 8 or self._are_few(allow):
            return self._exactly(query_D, k, allow)
        point = index.calibration.cheapest(recall, k)
        if point is None:
            return self._exactly(query_D, k, allow)
        if allow.is_full or allow is self._alive:
            selector = None if allow.is_full else allow
            covered_K = index.generator.candidates(query_D, point.want, point.effort, selector)
        else:
            point = self._point_under(allow, index, recall, k) or point
            covered_K = self._filtered(index.generator, query_D, k, point, allow)
        if len(covered_K) < min(k, point.want):  # too few came through: no guessing
            return self._exactly(query_D, k, allow)
        found = self._rows.best_of(query_D, covered_K, k)
        candidates = len(covered_K)
        if len(self._rows) > self._covered_rows:
            behind, scored = self._behind(query_D, k, allow)
            candidates += scored
            rows_N = np.concatenate([found.rows_K, behind.rows_K])
            found = Scored.best_of(np.concatenate([found.scores_K, behind.scores_K]), rows_N, k)
        return Found(found, "top_k", candidates)

    def _are_few(self, allow: Bitmap) -> bool:
        """Whether a scan is fast and an index might lose some; a small collection whole is what it is for."""
        filtered = allow is not self._alive or allow.count < self._covered_rows // 8
        return filtered and allow.count <= self._exact_rows

    def _exactly(self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap) -> Found:
        return Found(self._rows.best(query_D, k, allow), "exact", allow.count)

    def _point_under(self, allow: Bitmap, index: ActiveIndex, recall: float, k: int) -> Point | None:
        """How to search when a share s of all pictures is allowed: the best k of them are among the best k/s.

        Its effort is in allowed rows, as an index counts under a filter: those in as many lists.
        """
        share = allow.count / max(1, self._alive.count)
        wide = index.calibration.cheapest(recall, ceil(k / share))
        if wide is None:
            return None
        want = max(WANT_LEAST * k, ceil(wide.want * share))
        return Point(k, ceil(wide.effort * share), want, wide.recall, wide.microseconds)

    def _filtered(
        self,
        generator: CandidateGenerator,
        query_D: Float32[ndarray, " d"],
        k: int,
        point: Point,
        allow: Bitmap,
    ) -> Int64[ndarray, " k"]:
        """Candidates under a filter; none when it takes a scan to be sure.

        A calibration knows nothing of how a filter lies to a query: what is allowed may be just what is far
        away. So twice the effort must show the same best `k`; where it does not, or where hardly anything
        near the query is allowed, a wide search decides.
        """
        if generator.filtered_effort == 0:
            return np.empty(0, np.int64)
        lists = ceil(point.effort * len(self._rows) / allow.count)
        if generator.filter_locality(query_D, lists, allow) >= NEAR:
            before_K = None
            for factor in FACTORS:
                covered_K = generator.candidates(query_D, factor * point.want, factor * point.effort, allow)
                best_K = self._rows.best_of(query_D, covered_K, k).rows_K
                if before_K is not None and np.array_equal(before_K, best_K):
                    return covered_K
                before_K = best_K
        return generator.candidates(
            query_D, WIDE_WANT * point.want, max(generator.filtered_effort, point.effort), allow
        )

    def _behind(self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap) -> tuple[Scored, int]:
        """The `k` best rows that the index does not cover, and how many there were to score."""
        first = len(self._rows) - len(self._tail)
        bits = Bitmap(allow.bytes_B[first // 8 :], len(self._tail)).without(range(self._covered_rows - first))
        best = self._tail.best(query_D, k, bits)
        return Scored(best.scores_K, best.rows_K + first), bits.count
