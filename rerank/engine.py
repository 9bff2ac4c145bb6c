"""A query → pictures in order. Taste is linear, so ranking is search:

    score(x) = q·x + Σ_a s_a (v_a·x - μ_a) = (q + Σ_a s_a v_a)·x - Σ_a s_a μ_a,    s_a = γ_a σ_q / σ_a

One inner product, whatever the mix. σ_q and σ_a are the spread of the query's scores and of the axis over the
collection: weight γ = 1 trades one standard deviation of the axis for one of the query, on any model.

An axis over a stored field, or through a network, is not linear in x. A search that weighs one scores every
eligible picture.

Dimension key   N eligible pictures, K hits, D embedding
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from indexer.axis_store import Axis, AxisStore
from indexer.bitmap import Bitmap
from indexer.collection import Collection
from indexer.errors import InvalidQueryError
from indexer.fields import Count
from indexer.filters import Filter
from indexer.images import Limits
from indexer.protocols import Encoder
from indexer.types import ImageRow
from indexer.view import Matches, View
from rerank.axis_values import axis_spread, check_model, values_of
from rerank.cursor import Cursor, fingerprint
from rerank.moments import MomentsCache, Spread, spread_of
from rerank.monitor import RecallMonitor, Sample
from rerank.page import Page, Scored, best
from rerank.query import QueryEncoder
from rerank.types import QUERY_TERM, Answer, CandidateMode, Hit, IdPart, Part, RankQuery, SearchQuery

LARGEST_WEIGHT = 1e3
MOST_COUNTS = 100  # values of a field in one answer
DEEPEST = 10_000  # hits that paging through an approximate search can reach; exact ones have no end


@dataclass(frozen=True, slots=True)
class Term:
    """One axis in a sum: `scale · (value - offset)`, where value is v·x, or the stored field."""

    axis: Axis
    scale: float
    offset: float


class Engine:
    """Search and rank over one collection. Stateless but for caches; safe to call from threads."""

    def __init__(
        self,
        collection: Collection,
        encoder: Encoder,
        axes: AxisStore,
        limits: Limits,
        monitor: RecallMonitor | None = None,
    ) -> None:
        self._collection = collection
        self._encoder = encoder
        self._axes = axes
        self._queries = QueryEncoder(encoder, limits)
        self._moments = MomentsCache()
        self._monitor = monitor

    def search(self, query: SearchQuery) -> Answer:
        """The best `query.limit` pictures for parts and axes together, best first; ties by age.

        Raises:
            InvalidQueryError, InvalidFilterError, InvalidCursorError, UnknownAxisError, NotFoundError,
            UnreadableImageError, ModelMismatchError: As named.
        """
        if not query.parts and not query.axes:
            raise InvalidQueryError("nothing to look for: give a query, axes, or both")
        clock = Clock()
        view = self._collection.view()
        query_D = self._encode(query.parts, view)
        clock.lap("encode")
        asked = (sorted(query.axes.items()), query.filter, query.recall, query.min_score, query.group_by)
        mark = fingerprint("search", query_D.tobytes(), *asked)
        cursor = _read(query.cursor, mark, view)
        terms = self._terms(query.axes, query_D, view, cursor)
        allow = _eligible(view, query.filter, cursor.slots)
        without = _slots(query.parts, view)
        clock.lap("filter")
        page = Page(cursor, query.limit)
        if any(term.axis.kind != "linear" for term in terms):
            everything = self._score_all(view, query_D, terms, view.without(allow, without))

            def find(k: int) -> Found:
                return Found(best(everything, k), "exact", len(everything.slots_K))
        else:
            direction_D, offset = _sum(query_D, terms)

            def find(k: int) -> Found:
                matches = view.search(direction_D, k, allow=allow, without=without, recall=query.recall)
                self._measure(view, direction_D, allow, without, query.recall, matches)
                scored = Scored(matches.scores_K - offset, matches.slots_K)
                return Found(scored, matches.mode, matches.candidates)

        scored, mode, n = _shortlist(query, view, page.wanted, find)
        clock.lap("search")
        found, following = page.cut(scored, _scales(terms), deepest=None if mode == "exact" else DEEPEST)
        hits = self._explained(view, query_D, terms, found)
        clock.lap("fetch")
        facets = {name: view.counts(name, allow)[:MOST_COUNTS] for name in query.facets}
        return self._answer(view, hits, following, mode, n, clock, _warnings(terms), facets)

    def rank(self, query: RankQuery) -> Answer:
        """Pictures in the order of one axis; scores in standard deviations of the collection.

        Without parts every eligible picture is ordered and the answer is exact. With parts it is the best
        `query.candidates` matches that are ordered, and the answer says `top_k`, unless fewer were eligible.
        Pictures without a value on a field axis stand last in either order, with score None.
        """
        clock = Clock()
        view = self._collection.view()
        query_D = self._encode(query.parts, view)
        clock.lap("encode")
        asked = (query.axis, query.filter, query.ids, query.order, query.candidates)
        cursor = _read(query.cursor, fingerprint("rank", query_D.tobytes(), *asked), view)
        axis = self._axis(query.axis)
        term = self._standard(axis, view, cursor)
        allow = view.without(_eligible(view, query.filter, cursor.slots), _slots(query.parts, view))
        if query.ids is not None:
            allow = view.bitmap([row.slot for row in view.rows(query.ids)]) & allow
        clock.lap("filter")
        mode: CandidateMode = "exact"
        if query.parts:
            eligible = allow.count
            matches = view.search(query_D, query.candidates, allow=allow)
            allow = view.bitmap(matches.slots_K)
            mode = "exact" if eligible <= query.candidates else "top_k"
            clock.lap("match")
        page = Page(cursor, query.limit)
        scored = self._values(view, term, allow)
        ordered = best(scored, page.wanted, ascending=query.order == "asc")
        found, following = page.cut(ordered, _scales([term]), deepest=None, ascending=query.order == "asc")
        clock.lap("rank")
        score_at = dict(zip(found.slots_K.tolist(), found.scores_K.tolist(), strict=True))
        hits = [_ranked(row, axis.name, score_at[row.slot]) for row in view.rows_at(found.slots_K)]
        clock.lap("fetch")
        return self._answer(view, hits, following, mode, len(scored.slots_K), clock, _warnings([term]))

    def _measure(
        self,
        view: View,
        direction_D: Float32[ndarray, " d"],
        allow: Bitmap,
        without: list[int],
        recall: float,
        matches: Matches,
    ) -> None:
        """Offer an approximate answer to whoever measures how good those are."""
        if self._monitor is not None and matches.mode == "top_k":
            self._monitor.offer(Sample(view, direction_D, allow, without, recall, matches.slots_K))

    def _encode(self, parts: tuple[Part, ...], view: View) -> Float32[ndarray, " d"]:
        """The unit vector of `parts`, or zero when axes alone decide."""
        if not parts:
            return np.zeros(self._encoder.dim, np.float32)
        return self._queries.encode(parts, view)

    def _axis(self, name: str) -> Axis:
        axis = self._axes.get(name)
        check_model(axis, self._encoder.model_id)
        return replace(axis, name=name)  # `warm@2` is not `warm` to whoever weighs both

    def _spread(self, axis: Axis, view: View) -> Spread:
        if axis.direction_D is not None:
            return self._moments.of(view).along(axis.direction_D)
        if axis.kind == "head":  # costly over a collection: the spread is that of the day when it was made
            return axis_spread(axis, view) if axis.standard is None else Spread(*astuple(axis.standard))
        return spread_of(values_of(axis, view, view.slots_in(view.live())))

    def _standard(self, axis: Axis, view: View, cursor: Cursor) -> Term:
        """`axis` in standard deviations of the collection, as of the first page."""
        if axis.name in cursor.scales:
            return Term(axis, *cursor.scales[axis.name])
        spread = self._spread(axis, view)
        return Term(axis, 0.0 if spread.is_flat else 1.0 / spread.std, spread.mean)

    def _terms(
        self, weights: Mapping[str, float], query_D: Float32[ndarray, " d"], view: View, cursor: Cursor
    ) -> list[Term]:
        terms: list[Term] = []
        for name, weight in weights.items():
            if not abs(weight) <= LARGEST_WEIGHT:  # also catches NaN
                bounds = f"-{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"
                raise InvalidQueryError(f"axis weight {name}={weight} is out of range: expected {bounds}")
            axis = self._axis(name)
            if name in cursor.scales:
                terms.append(Term(axis, *cursor.scales[name]))
                continue
            standard = self._standard(axis, view, cursor)
            query_std = self._moments.of(view).along(query_D).std if query_D.any() else 1.0
            terms.append(Term(axis, weight * query_std * standard.scale, standard.offset))
        return terms

    def _score_all(
        self, view: View, query_D: Float32[ndarray, " d"], terms: list[Term], allow: Bitmap
    ) -> Scored:
        """Every eligible picture, with terms that are not linear in its vector."""
        scores_N, slots_N = view.project(query_D, allow=allow)
        scores_N = scores_N.copy()
        for term in terms:
            values_N = self._values(view, term, allow)
            # A picture without the value is neither raised nor lowered: it counts as average.
            scores_N += np.nan_to_num(values_N.scores_K, nan=0.0)
        return Scored(scores_N, slots_N)

    def _values(self, view: View, term: Term, allow: Bitmap) -> Scored:
        """`scale · (value - offset)` of every eligible picture, in the order of `view.project`."""
        if term.axis.direction_D is not None:
            values_N, slots_N = view.project(term.axis.direction_D, allow=allow)
        else:
            slots_N = view.slots_in(allow)
            values_N = values_of(term.axis, view, slots_N)
        scaled_N = (values_N.astype(np.float64) - term.offset) * term.scale
        return Scored(scaled_N.astype(np.float32), slots_N)

    def _explained(
        self, view: View, query_D: Float32[ndarray, " d"], terms: list[Term], found: Scored
    ) -> list[Hit]:
        """Hits with the share of each term in their score."""
        rows = view.rows_at(found.slots_K)
        slots_K = np.array([row.slot for row in rows], np.int64)
        score_at = dict(zip(found.slots_K.tolist(), found.scores_K.tolist(), strict=True))
        vectors_KD = view.vectors_at(slots_K)
        shares: dict[str, Float64[ndarray, " k"]] = {}
        if query_D.any():
            shares[QUERY_TERM] = (vectors_KD @ query_D).astype(np.float64)
        for term in terms:
            values_K = values_of(term.axis, view, slots_K)
            shares[term.axis.name] = np.nan_to_num(term.scale * (values_K - term.offset), nan=0.0)
        return [
            Hit(row, score_at[row.slot], {name: float(share_K[i]) for name, share_K in shares.items()})
            for i, row in enumerate(rows)
        ]

    def _answer(
        self,
        view: View,
        hits: list[Hit],
        following: Cursor | None,
        mode: CandidateMode,
        candidates: int,
        clock: "Clock",
        warnings: tuple[str, ...],
        facets: Mapping[str, list[Count]] | None = None,
    ) -> Answer:
        return Answer(
            hits=hits,
            cursor=None if following is None else following.encode(),
            mode=mode,
            candidates=candidates,
            generation=view.generation,
            images=view.images,
            model_id=self._encoder.model_id,
            timings_ms=clock.laps(),
            facets=facets or {},
            warnings=warnings,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The best of a search, and what they were chosen from."""

    scored: Scored
    mode: CandidateMode
    candidates: int


def _shortlist(
    query: SearchQuery, view: View, wanted: int, find: Callable[[int], Found]
) -> tuple[Scored, CandidateMode, int]:
    """The `wanted` best that the query keeps, or all there are: groups and a threshold take some away."""
    ask = wanted
    while True:
        found = find(ask)
        kept = found.scored
        if query.min_score is not None:
            kept = _part(kept, kept.scores_K >= np.float32(query.min_score))
        ended = len(kept.slots_K) < ask  # by the threshold, or because there are no more
        if query.group_by is not None:
            kept = _part(kept, _first_of_each(view.keys(query.group_by, kept.slots_K)))
        if ended or len(kept.slots_K) >= wanted:
            return kept, found.mode, found.candidates
        ask *= 4


def _part(scored: Scored, keep_K: ndarray) -> Scored:
    return Scored(scored.scores_K[keep_K], scored.slots_K[keep_K])


def _first_of_each(key_K: Int64[ndarray, " k"]) -> ndarray:
    """True where a key stands for the first time, and where there is none."""
    keep_K = key_K < 0
    keep_K[np.unique(key_K, return_index=True)[1]] = True
    return keep_K


class Clock:
    """Wall time of each stage of one query, in milliseconds."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = (now - self._last) * 1e3
        self._last = now

    def laps(self) -> dict[str, float]:
        return self._laps | {"total": (time.perf_counter() - self._started) * 1e3}


def _read(text: str | None, mark: str, view: View) -> Cursor:
    """The cursor that came with the request, or one that stands before the first hit."""
    if text is None:
        return Cursor(mark, view.slots, 0, None, (), {})
    return Cursor.decode(text, fingerprint=mark)


def _slots(parts: tuple[Part, ...], view: View) -> list[int]:
    """Where the pictures lie that the query names: they are left out of the hits."""
    return [row.slot for row in view.rows([part.id for part in parts if isinstance(part, IdPart)])]


def _eligible(view: View, condition: Filter | None, below: int) -> Bitmap:
    """Live pictures that pass the filter and were there when the first page was made."""
    return view.before(view.live() if condition is None else view.select(condition), below)


def _sum(query_D: Float32[ndarray, " d"], terms: list[Term]) -> tuple[Float32[ndarray, " d"], np.float32]:
    """One direction for the query and its linear terms, and what every score has too much."""
    direction_D = query_D.copy()
    for term in terms:
        direction_D += np.float32(term.scale) * _direction(term.axis)
    return direction_D, np.float32(sum(term.scale * term.offset for term in terms))


def _direction(axis: Axis) -> Float32[ndarray, " d"]:
    assert axis.direction_D is not None
    return axis.direction_D


def _scales(terms: list[Term]) -> dict[str, tuple[float, float]]:
    return {term.axis.name: (term.scale, term.offset) for term in terms}


def _ranked(row: ImageRow, axis: str, score: float) -> Hit:
    known = not np.isnan(score)
    return Hit(row, score if known else None, {axis: score} if known else {})


def _warnings(terms: list[Term]) -> tuple[str, ...]:
    """What a person should know before trusting the order."""
    weak = [
        f"axis {t.axis.name!r} is weak on this model: {t.axis.card}" for t in terms if t.axis.trust == "weak"
    ]
    flat = [f"axis {t.axis.name!r} does not tell these pictures apart" for t in terms if t.scale == 0.0]
    return (*weak, *flat)
