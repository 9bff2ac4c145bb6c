"""One page of an ordered list.

Dimension key   N scored pictures, K hits
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from indexer.disk.slots import Slots
from indexer.types import ImageRow
from rerank.cursor import TIE, Cursor


@dataclass(frozen=True, slots=True)
class Scored:
    """Pictures by slot, with their scores; NaN marks a picture that has no value and stands last.

    Where there are such ones, `ids_K` puts them in an order that no edit changes.
    """

    scores_K: Float32[ndarray, " k"]
    slots_K: Int64[ndarray, " k"]
    ids_K: Float64[ndarray, " k"] | None = None

    def part(self, keep_K: ndarray | slice) -> "Scored":
        ids_K = None if self.ids_K is None else self.ids_K[keep_K]
        return Scored(self.scores_K[keep_K], self.slots_K[keep_K], ids_K)


def best(scored: Scored, k: int, *, ascending: bool = False) -> Scored:
    """The `k` best of `scored`, in order; ties go to the smaller id or else slot, NaN stands last."""
    keys_N = scored.scores_K if ascending else -scored.scores_K
    if k < len(keys_N):
        # NaN sorts last in NumPy, where it belongs. A stable order among equals needs all of them,
        # so everything as good as the k-th is kept before the final sort.
        kth = np.partition(keys_N, k - 1)[k - 1]
        keep_N = np.flatnonzero(~(keys_N > kth)) if not np.isnan(kth) else np.arange(len(keys_N))
    else:
        keep_N = np.arange(len(keys_N))
    age_N = scored.slots_K if scored.ids_K is None else scored.ids_K
    order = np.lexsort((age_N[keep_N], keys_N[keep_N]))[:k]
    return scored.part(keep_N[order])


@dataclass(frozen=True, slots=True)
class Cut:
    """What stands on one page."""

    scored: Scored
    is_last: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page starts, and how long it is. The pictures of `cursor.ties` now stand in `tie_slots`."""

    cursor: Cursor
    limit: int
    tie_slots: Slots = ()

    @property
    def wanted(self) -> int:
        """How many of the best to ask for: those shown before, this page, and one to know if more follow."""
        return self.cursor.shown + self.limit + 1

    def lacks(self, ordered: Scored, asked: int, *, ascending: bool = False) -> bool:
        """Whether the best `asked` do not fill this page, and there may be more.

        An edit may have raised pictures that were not shown above the place where this page starts, and an
        approximate search may find more of them when it is asked for more.
        """
        if len(ordered.slots_K) < asked:
            return False
        return int(np.count_nonzero(self._after(ordered, ascending))) <= self.limit

    def more(self, asked: int) -> int:
        """How many to ask for when `asked` were too few: beyond `wanted`, about twice as many each time."""
        return 2 * asked - self.wanted + self.limit

    def cut(self, ordered: Scored, *, deepest: int | None, ascending: bool = False) -> Cut:
        """The hits of this page; no page follows behind the `deepest` hit."""
        rest = np.flatnonzero(self._after(ordered, ascending))
        shown = rest[: self.limit]
        total = self.cursor.shown + len(shown)
        is_last = len(rest) <= self.limit or len(shown) == 0 or (deepest is not None and total >= deepest)
        return Cut(ordered.part(shown), is_last)

    def following(
        self, cut: Cut, rows: Sequence[ImageRow], scales: Mapping[str, tuple[float, float]]
    ) -> Cursor | None:
        """The cursor behind `cut`, whose pictures are `rows`; None when no page follows."""
        if cut.is_last:
            return None
        last = float(cut.scored.scores_K[-1])
        missing = bool(np.isnan(last))
        tied = set(cut.scored.slots_K[self._are_equal(cut.scored, last)].tolist())
        ties = tuple(row.id for row in rows if row.slot in tied)
        if self._goes_on(last):
            ties = (*self.cursor.ties, *ties)
        return replace(
            self.cursor,
            shown=self.cursor.shown + len(cut.scored.slots_K),
            score=None if missing else last,
            ties=ties[-1:] if missing else ties,  # these stand in the order of their ids
            scales=scales,
        )

    def _after(self, ordered: Scored, ascending: bool) -> Bool[ndarray, " k"]:
        """True for what comes after the last hit of the page before."""
        if self.cursor.shown == 0:
            return np.ones(len(ordered.scores_K), bool)
        if self.cursor.score is None:
            if ordered.ids_K is None:  # all of them have a value now
                return np.zeros(len(ordered.scores_K), bool)
            return np.isnan(ordered.scores_K) & ~(ordered.ids_K <= max(self.cursor.ties, default=-1))
        fresh = ~np.isin(ordered.slots_K, np.asarray(self.tie_slots, np.int64))
        behind = ordered.scores_K - np.float32(self.cursor.score)
        behind = -behind if ascending else behind
        return ~(behind > TIE) & fresh  # NaN compares false, so pictures without a value come after

    def _are_equal(self, scored: Scored, score: float) -> Bool[ndarray, " k"]:
        if np.isnan(score):
            return np.isnan(scored.scores_K)
        return np.abs(scored.scores_K - np.float32(score)) <= TIE

    def _goes_on(self, last: float) -> bool:
        """Whether the run of pictures whose score equals `last` began on an earlier page."""
        if self.cursor.score is None:
            return bool(np.isnan(last)) and self.cursor.shown > 0
        return abs(self.cursor.score - last) <= TIE
