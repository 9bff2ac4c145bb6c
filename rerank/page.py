"""One page of a list whose order may come from an approximate search.

Dimension key   K hits
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from indexer.protocols import TIE, Matches
from indexer.types import ImageId
from rerank.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Cut:
    """What stands on one page."""

    matches: Matches
    is_last: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page starts, and how long it is."""

    cursor: Cursor
    limit: int

    @property
    def wanted(self) -> int:
        """How many of the best to ask for: those shown before, this page, and one to know if more follow."""
        return self.cursor.shown + self.limit + 1

    def lacks(self, ordered: Matches, asked: int) -> bool:
        """Whether the best `asked` do not fill this page, and there may be more.

        An approximate search may find better ones, which the pages before had missed, when it is asked for
        more.
        """
        if len(ordered.ids_K) < asked:
            return False
        return int(np.count_nonzero(self._after(ordered))) <= self.limit

    def more(self, asked: int) -> int:
        """How many to ask for when `asked` were too few: beyond `wanted`, about twice as many each time."""
        return 2 * asked - self.wanted + self.limit

    def cut(self, ordered: Matches, *, deepest: int | None) -> Cut:
        """The hits of this page; no page follows behind the `deepest` hit."""
        rest = np.flatnonzero(self._after(ordered))
        shown = rest[: self.limit]
        total = self.cursor.shown + len(shown)
        is_last = len(rest) <= self.limit or len(shown) == 0 or (deepest is not None and total >= deepest)
        return Cut(ordered.part(shown), is_last)

    def _after(self, ordered: Matches) -> Bool[ndarray, " k"]:
        """True for what comes after the last hit of the page before."""
        place = self.cursor.place
        if place is None:
            return np.ones(len(ordered.ids_K), bool)
        assert place.score is not None  # a search has a score for every picture
        fresh_K = ~np.isin(ordered.ids_K, np.array(place.ids, np.int64))
        return ~(ordered.scores_K - np.float32(place.score) > TIE) & fresh_K


def following(cursor: Cursor, cut: Cut, scales: Mapping[str, tuple[float, float]]) -> Cursor | None:
    """The cursor behind `cut`, which follows `cursor`; None when no page does."""
    if cut.is_last:
        return None
    ids_K, scores_K = cut.matches.ids_K, cut.matches.scores_K
    last = float(scores_K[-1])
    shown = cursor.shown + len(ids_K)
    if np.isnan(last):  # these stand in the order of their ids
        return replace(cursor, shown=shown, score=None, ties=(ImageId(int(ids_K[-1])),), scales=scales)
    ties = tuple(ImageId(int(i)) for i in ids_K[np.abs(scores_K - np.float32(last)) <= TIE])
    if cursor.score is not None and abs(cursor.score - last) <= TIE:  # the run began on an earlier page
        ties = (*cursor.ties, *ties)
    return replace(cursor, shown=shown, score=last, ties=ties, scales=scales)
