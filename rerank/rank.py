"""Pictures in the order of axes. Exact: every eligible picture has its place, however deep one pages.

An order over linear axes is a search along one direction. The first thousands of a collection are remembered
while it stays as it is, so that asking again costs no scan.

Dimension key   N eligible pictures, K hits, D embedding
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.collection.view import EXACT, View
from indexer.errors import InvalidQueryError
from indexer.types import ImageRow
from rerank.axes.moments import spread_of
from rerank.axes.terms import Taste, Term, combined, scales, warnings
from rerank.clock import Clock
from rerank.cursor import fingerprint
from rerank.page import Cut, Page, Scored, best
from rerank.query import QueryEncoder
from rerank.scope import Scope, named
from rerank.types import Answer, CandidateMode, Distribution, Hit, Milestone, RankQuery

HEAD = 4096  # places of an order that are remembered; a scan finds them as fast as it finds ten
MOST_HEADS = 64
MILESTONES = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 100.0)


class Ranker:
    """Stateless but for caches; safe to call from threads."""

    def __init__(self, queries: QueryEncoder, taste: Taste) -> None:
        self._queries = queries
        self._taste = taste
        self._heads = HeadCache()

    def rank(self, query: RankQuery, view: View) -> Answer:
        """The first `query.limit` pictures. Scores are in standard deviations of the collection; with several
        axes they are weighted and summed.

        Without parts every eligible picture is ordered and the answer is exact. With parts it is the best
        `query.candidates` matches that are ordered, and the answer says `top_k`, unless fewer were eligible.
        On a single axis pictures without a value stand last in either order, with score None; among several
        a missing value counts as average.

        Raises:
            InvalidQueryError, InvalidFilterError, InvalidCursorError, UnknownAxisError, NotFoundError,
            UnreadableImageError, ModelMismatchError: As named.
        """
        if not query.axes:
            raise InvalidQueryError("no axis to order by: name one, as in /rank?axis=aesthetics")
        clock = Clock()
        query_D = self._queries.ask(query.parts, view).direction_D
        clock.lap("encode")
        asked = (sorted(query.axes.items()), query.filter, sorted(query.percentiles.items()), query.ids)
        axes = self._taste.marks(query.axes, query.percentiles)
        mark = fingerprint("rank", query_D.tobytes(), axes, *asked, query.order, query.candidates)
        scope = Scope.open(view, query.cursor, mark).banded(self._taste, query.percentiles)
        terms = self._taste.terms(query.axes, None, view, scope.cursor.scales)
        allow, mode = self._candidates(query, query_D, scope)
        clock.lap("filter")
        page = scope.page(query.limit)
        cut = self._cut(page, view, terms, allow, query.order == "asc")
        clock.lap("rank")
        hits = self._hits(view, terms, cut.scored)
        following = page.following(cut, [hit.image for hit in hits], scales(terms))
        clock.lap("fetch")
        return Answer(
            hits=hits,
            cursor=None if following is None else following.encode(),
            mode=mode,
            candidates=allow.count,
            generation=view.generation,
            images=view.images,
            model_id=self._queries.model_id,
            timings_ms=clock.laps(),
            warnings=warnings(terms),
            complete=len(hits) == len(cut.scored.slots_K),
        )

    def distribution(self, name: str, view: View, *, bars: int) -> Distribution:
        """How the axis spreads over the collection, and pictures along its percentiles."""
        axis = self._taste.axis(name)
        values = self._taste.values(axis, view)
        sorted_N = values.sorted_N
        spread = spread_of(values.live_values())
        counts, edges = np.histogram(sorted_N, bars) if len(sorted_N) else (np.zeros(0, int), np.zeros(0))
        milestones = []
        for percentile in MILESTONES if len(sorted_N) else ():
            value = values.at(percentile)
            rows_N = (Bitmap.of_mask(values.value_N == value) & values.alive).rows()
            picture = _first(view, rows_N)
            if picture is not None:
                milestones.append(Milestone(percentile, value, picture))
        return Distribution(
            axis=axis.name,
            version=axis.version,
            images=view.images,
            missing=view.images - len(sorted_N),
            mean=spread.mean,
            std=spread.std,
            edges=tuple(edges.tolist()),
            counts=tuple(counts.tolist()),
            milestones=tuple(milestones),
        )

    def _candidates(
        self, query: RankQuery, query_D: Float32[ndarray, " d"], scope: Scope
    ) -> tuple[Bitmap, CandidateMode]:
        """Which pictures are ordered, and whether those are all that could be."""
        view = scope.view
        allow = self._taste.within(scope.cursor.limits, view, scope.eligible(query.filter))
        allow = view.without(allow, named(query.parts, view))
        if query.ids is not None:
            # One that was deleted since the first page does not end the list.
            rows = view.rows(query.ids) if query.cursor is None else view.known(query.ids)
            allow = view.bitmap([row.slot for row in rows]) & allow
        if not query.parts or allow.count <= query.candidates:
            return allow, "exact"
        return view.bitmap(view.search(query_D, query.candidates, allow=allow).slots_K), "top_k"

    def _cut(self, page: Page, view: View, terms: Sequence[Term], allow: Bitmap, ascending: bool) -> Cut:
        """The page of `allow`."""
        ask = page.wanted
        ordered = self._ordered(view, terms, allow, ask, ascending)
        while page.lacks(ordered, ask, ascending=ascending):
            ask = page.more(ask)
            ordered = self._ordered(view, terms, allow, ask, ascending)
        return page.cut(ordered, deepest=None, ascending=ascending)

    def _ordered(
        self, view: View, terms: Sequence[Term], allow: Bitmap, wanted: int, ascending: bool
    ) -> Scored:
        """The first `wanted` of `allow`, or all there are."""
        if wanted > HEAD or not all(term.is_linear for term in terms):
            total = self._taste.total(terms, view, allow)
            missing = np.count_nonzero(np.isnan(total.scores_K))
            if missing and len(total.scores_K) - missing < wanted:
                total = replace(total, ids_K=view.numbers("id")[view.rows_of(total.slots_K)])
            return best(total, wanted, ascending=ascending)
        if allow is not view.live():
            return _along(view, terms, allow, wanted, ascending)
        key = (
            ascending,
            *((term.axis.name, term.axis.created_at, term.scale, term.offset) for term in terms),
        )
        head = self._heads.find(key, view)
        if head is None:
            head = _along(view, terms, allow, HEAD, ascending)
            self._heads.keep(key, view, head)
        return Scored(head.scores_K[:wanted], head.slots_K[:wanted])

    def _hits(self, view: View, terms: Sequence[Term], found: Scored) -> list[Hit]:
        rows = view.rows_at(found.slots_K)
        score_at = dict(zip(found.slots_K.tolist(), found.scores_K.tolist(), strict=True))
        if len(terms) == 1:
            return [_hit(row, score_at[row.slot], {terms[0].axis.name: score_at[row.slot]}) for row in rows]
        slots_K = np.array([row.slot for row in rows], np.int64)
        shares = self._taste.shares(terms, view, slots_K)
        return [
            _hit(row, score_at[row.slot], {name: float(share_K[i]) for name, share_K in shares.items()})
            for i, row in enumerate(rows)
        ]


@dataclass(frozen=True, slots=True)
class Head:
    """The first HEAD places of one order, of one generation."""

    generation: int
    epoch: int
    ordered: Scored


class HeadCache:
    """Orders of the whole collection that were asked for last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._heads: OrderedDict[tuple[object, ...], Head] = OrderedDict()

    def find(self, key: tuple[object, ...], view: View) -> Scored | None:
        with self._lock:
            head = self._heads.get(key)
            if head is None or (head.generation, head.epoch) != (view.generation, view.epoch):
                return None
            self._heads.move_to_end(key)
            return head.ordered

    def keep(self, key: tuple[object, ...], view: View, ordered: Scored) -> None:
        with self._lock:
            self._heads[key] = Head(view.generation, view.epoch, ordered)
            while len(self._heads) > MOST_HEADS:
                self._heads.popitem(last=False)


def _along(view: View, terms: Sequence[Term], allow: Bitmap, k: int, ascending: bool) -> Scored:
    """The first `k` along the one direction that linear terms add up to."""
    direction_D, offset = combined(np.zeros(view.matrix.dim, np.float32), terms)
    sign = np.float32(-1 if ascending else 1)
    found = view.search(sign * direction_D, k, allow=allow, recall=EXACT)
    return Scored(sign * found.scores_K - offset, found.slots_K)


def _hit(row: ImageRow, score: float, shares: dict[str, float]) -> Hit:
    if np.isnan(score):
        return Hit(row, None, {})
    return Hit(row, score, {name: 0.0 if np.isnan(share) else share for name, share in shares.items()})


def _first(view: View, rows_N: ndarray) -> ImageRow | None:
    """A picture in one of these rows; None when all were deleted meanwhile."""
    return next(iter(view.rows_at(view.slots_of(rows_N[:8]))), None)
