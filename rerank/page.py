"""One page of an ordered list.

Dimension key   N scored pictures, K hits
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from rerank.cursor import TIE, Cursor


@dataclass(frozen=True, slots=True)
class Scored:
    """Pictures by slot, with their scores; NaN marks a picture that has no value and stands last."""

    scores_K: Float32[ndarray, " k"]
    slots_K: Int64[ndarray, " k"]


def best(scored: Scored, k: int, *, ascending: bool = False) -> Scored:
    """The `k` best of `scored`, in order; ties go to the smaller slot, NaN stands last."""
    keys_N = scored.scores_K if ascending else -scored.scores_K
    if k < len(keys_N):
        # NaN sorts last in NumPy, where it belongs. A stable order among equals needs all of them,
        # so everything as good as the k-th is kept before the final sort.
        kth = np.partition(keys_N, k - 1)[k - 1]
        keep_N = np.flatnonzero(~(keys_N > kth)) if not np.isnan(kth) else np.arange(len(keys_N))
    else:
        keep_N = np.arange(len(keys_N))
    order = np.lexsort((scored.slots_K[keep_N], keys_N[keep_N]))[:k]
    chosen = keep_N[order]
    return Scored(scored.scores_K[chosen], scored.slots_K[chosen])


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page starts, and how long it is."""

    cursor: Cursor
    limit: int

    @property
    def wanted(self) -> int:
        """How many of the best to ask for: those shown before, this page, and one to know if more follow."""
        return self.cursor.shown + self.limit + 1

    def cut(
        self,
        ordered: Scored,
        scales: Mapping[str, tuple[float, float]],
        *,
        deepest: int | None,
        ascending: bool = False,
    ) -> tuple[Scored, Cursor | None]:
        """The hits of this page, and the cursor of the next; None when this is the last one."""
        rest = np.flatnonzero(self._after(ordered, ascending))
        shown = rest[: self.limit]
        page = Scored(ordered.scores_K[shown], ordered.slots_K[shown])
        total = self.cursor.shown + len(shown)
        if len(rest) <= self.limit or len(shown) == 0 or (deepest is not None and total >= deepest):
            return page, None
        return page, self._next(page, total, scales)

    def _after(self, ordered: Scored, ascending: bool) -> ndarray:
        """True for what comes after the last hit of the page before."""
        if self.cursor.shown == 0:
            return np.ones(len(ordered.scores_K), bool)
        if self.cursor.score is None:
            return np.isnan(ordered.scores_K) & (ordered.slots_K > max(self.cursor.ties, default=-1))
        fresh = ~np.isin(ordered.slots_K, self.cursor.ties)
        behind = ordered.scores_K - np.float32(self.cursor.score)
        behind = -behind if ascending else behind
        return ~(behind > TIE) & fresh  # NaN compares false, so pictures without a value come after

    def _next(self, page: Scored, total: int, scales: Mapping[str, tuple[float, float]]) -> Cursor:
        last = float(page.scores_K[-1])
        missing = bool(np.isnan(last))
        if missing:  # these stand in the order of their slots: the last one says it all
            ties = [int(page.slots_K[-1])]
        else:
            ties = page.slots_K[np.abs(page.scores_K - np.float32(last)) <= TIE].tolist()
            if self.cursor.score is not None and abs(self.cursor.score - last) <= TIE:
                ties = [*self.cursor.ties, *ties]  # the run of equals began on an earlier page
        return Cursor(
            fingerprint=self.cursor.fingerprint,
            slots=self.cursor.slots,
            shown=total,
            score=None if missing else last,
            ties=tuple(ties),
            scales=scales,
            limits=self.cursor.limits,
            rewrite=self.cursor.rewrite,
        )
