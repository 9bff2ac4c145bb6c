"""A query → pictures in order. Taste is linear, so ranking is search:

    score(x) = q·x + Σ_a s_a (v_a·x - μ_a) = (q + Σ_a s_a v_a)·x - Σ_a s_a μ_a

One inner product over the whole collection, whatever the mix: see `rerank.axes.terms`. An axis that is not
linear in x makes every eligible picture be scored. What is asked of the hits as a set comes second:
`rerank.shortlist`.

Dimension key   N eligible pictures, K hits, D embedding
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.collection.view import View
from indexer.errors import InvalidQueryError
from rerank.axes.terms import Taste, Term, combined, scales, warnings
from rerank.clock import Clock
from rerank.cursor import Cursor, fingerprint
from rerank.match.cache import MatchCache
from rerank.match.evidence import HITS
from rerank.match.model import Match
from rerank.monitor import RecallMonitor, Sample
from rerank.page import Scored, best
from rerank.query import QueryEncoder, Question, rephrasable, rephrased
from rerank.rephrase.rephraser import Rephraser
from rerank.rephrase.types import Rewrite
from rerank.scope import Scope, named
from rerank.shortlist import shortlist, vendi_of
from rerank.types import QUERY_TERM, REWRITE_TERM, Answer, CandidateMode, Hit, SearchQuery, TextPart

MOST_COUNTS = 100  # values of a field in one answer
DEEPEST = 10_000  # hits that paging through an approximate search can reach; exact ones have no end


@dataclass(frozen=True, slots=True)
class Found:
    """The best of a search, and what they were chosen from."""

    scored: Scored
    mode: CandidateMode
    candidates: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What is added up for a score: the query's vectors, and axes."""

    question: Question
    terms: Sequence[Term]


@dataclass(frozen=True, slots=True)
class Shown:
    """Hits of one page, and how they came about."""

    hits: list[Hit]
    following: Cursor | None
    mode: CandidateMode
    candidates: int
    complete: bool
    vendi: float | None = None


class Searcher:
    """Stateless but for caches; safe to call from threads."""

    def __init__(
        self,
        queries: QueryEncoder,
        taste: Taste,
        rephraser: Rephraser,
        matches: MatchCache,
        monitor: RecallMonitor | None,
    ) -> None:
        self._queries = queries
        self._taste = taste
        self._rephraser = rephraser
        self._matches = matches
        self._monitor = monitor

    def search(self, query: SearchQuery, view: View) -> Answer:
        """The best `query.limit` pictures for parts and axes together, best first; ties by age.

        Raises:
            InvalidQueryError, InvalidFilterError, InvalidCursorError, UnknownAxisError, NotFoundError,
            UnreadableImageError, ModelMismatchError: As named.
        """
        if not query.parts and not query.axes:
            raise InvalidQueryError("nothing to look for: give a query, axes, or both")
        clock = Clock()
        asked = self._queries.ask(query.parts, view)
        clock.lap("encode")
        scope = Scope.open(view, query.cursor, self._fingerprint(query, asked))
        scope = scope.banded(self._taste, query.percentiles)
        rewrite = self._rephrased(query)
        if rewrite is not None:
            scope = scope.rewritten(rewrite.text)
            clock.lap("rephrase")
        text = scope.cursor.rewrite
        question = asked if text is None else self._queries.ask(query.parts, view, rewrite=text)
        terms = self._taste.terms(query.axes, question, view, scope.cursor.scales)
        allow = self._taste.within(scope.cursor.limits, view, scope.eligible(query.filter))
        clock.lap("filter")
        find = self._finder(query, terms, view, allow)
        present = self._arranged if query.has_second_stage else self._paged
        shown = present(query, scope, Sums(question, terms), partial(find, question))
        clock.lap("search")
        hits = shown.hits
        if rewrite is not None and rewrite.text is not None:
            alone = self._queries.ask(rephrased(query.parts, rewrite.text), view)
            hits = _credited(
                hits, {QUERY_TERM: find(asked, query.limit), REWRITE_TERM: find(alone, query.limit)}
            )
            clock.lap("credit")
        match = self._judged(query, asked, view, allow)
        clock.lap("match")
        return Answer(
            hits=hits,
            cursor=None if shown.following is None else shown.following.encode(),
            mode=shown.mode,
            candidates=shown.candidates,
            generation=view.generation,
            images=view.images,
            model_id=self._queries.model_id,
            timings_ms=clock.laps(),
            facets={name: view.counts(name, allow, MOST_COUNTS) for name in dict.fromkeys(query.facets)},
            rewritten=text is not None,
            rewrite=rewrite,
            match=match,
            vendi=shown.vendi,
            warnings=warnings(terms),
            complete=shown.complete,
        )

    def _fingerprint(self, query: SearchQuery, asked: Question) -> str:
        """Of all that must not change between two pages."""
        reranked = () if query.rerank is None else (query.rerank.axis,)
        axes = self._taste.marks(query.axes, query.percentiles, reranked)
        values = (sorted(query.axes.items()), query.filter, sorted(query.percentiles.items()), query.recall)
        stages = (query.rephrase, query.rerank, query.deduplicate, query.diversify, query.pool)
        also = (query.min_score, query.group_by, *stages)
        return fingerprint("search", asked.direction_D.tobytes(), axes, *values, *also)

    def _rephrased(self, query: SearchQuery) -> Rewrite | None:
        """What became of the query on its first page; None where nobody wished for it."""
        if query.rephrase is None or query.cursor is not None:
            return None
        text = rephrasable(query.parts)
        if text is None:
            reason = "there is not one text to rephrase"
            return Rewrite(query.rephrase, "original", "not_needed", None, reason, 0.0, None)
        return self._rephraser.rephrase(text.text, query.rephrase)

    def _judged(self, query: SearchQuery, asked: Question, view: View, allow: Bitmap) -> Match | str:
        """How probable it is that something fits the words, whatever the axes; or why nobody knows."""
        if query.cursor is not None:
            return "the first page says it"
        if not query.parts or not all(isinstance(part, TextPart) and part.weight > 0 for part in query.parts):
            return "only words are judged"
        model = self._matches.of(view)
        if isinstance(model, str):
            return model
        best = view.search(asked.direction_D, HITS, allow=allow, recall=query.recall)
        spread = self._taste.spread(asked.direction_D, view)
        match = model.judge(asked.direction_D, best.scores_K, view.vectors_at(best.slots_K), spread)
        return f"fewer than {HITS} pictures may come" if match is None else match

    def _paged(self, query: SearchQuery, scope: Scope, sums: Sums, find: Callable[[int], Found]) -> Shown:
        """A page of all there is, in the order of the scores."""
        page = scope.page(query.limit)
        ask = page.wanted
        found = _kept(query, scope.view, ask, find)
        while page.lacks(found.scored, ask):
            ask = page.more(ask)
            found = _kept(query, scope.view, ask, find)
        cut = page.cut(found.scored, deepest=None if found.mode == "exact" else DEEPEST)
        hits = self._explained(scope.view, sums, cut.scored)
        following = page.following(cut, [hit.image for hit in hits], scales(sums.terms))
        complete = len(hits) == len(cut.scored.slots_K)
        return Shown(hits, following, found.mode, found.candidates, complete)

    def _arranged(self, query: SearchQuery, scope: Scope, sums: Sums, find: Callable[[int], Found]) -> Shown:
        """A page of the pool, which the first page puts in order as a whole."""
        view, pool = scope.view, max(query.pool, query.limit)
        sums = self._with_rerank(query, scope, sums)
        queue, complete = scope.cursor.queue, True
        if query.cursor is None:
            found = _kept(query, view, pool, find)
            slots_N, score_N = self._scored(view, sums, found.scored.slots_K)
            arranged = shortlist(view, slots_N, score_N, query.deduplicate, query.diversify)
            queue = tuple(zip(arranged.ids, arranged.count_K.tolist(), strict=True))
            complete = arranged.complete
        count, rest = dict(queue[: query.limit]), queue[query.limit :]
        slots_K = np.array([row.slot for row in view.known(list(count))], np.int64)  # others were deleted
        hits = self._explained(view, sums, Scored(self._totals(view, sums, slots_K), slots_K))
        complete = complete and len(hits) == len(slots_K)
        hits = [replace(hit, duplicates=count[hit.image.id] - 1) for hit in hits]
        following = replace(scope.cursor, scales=scales(sums.terms), queue=rest) if rest else None
        return Shown(hits, following, "top_k", pool, complete, self._vendi(query, view, hits))

    def _with_rerank(self, query: SearchQuery, scope: Scope, sums: Sums) -> Sums:
        """With the axis that the pool is sorted by: beside what there is, or in its place."""
        if query.rerank is None:
            return sums
        name, weight = query.rerank.axis, query.rerank.weight
        if name in query.axes:
            raise InvalidQueryError(f"axis {name!r} is weighed in the search already: leave it out of rerank")
        unit = None if weight is None else sums.question
        fixed = scope.cursor.scales
        (term,) = self._taste.terms({name: 1.0 if weight is None else weight}, unit, scope.view, fixed)
        if weight is None:
            return Sums(replace(sums.question, shares={}), [term])
        return Sums(sums.question, [*sums.terms, term])

    def _scored(
        self, view: View, sums: Sums, slots_N: Int64[ndarray, " n"]
    ) -> tuple[Int64[ndarray, " n"], ndarray]:
        """`slots_N` by falling score; ties keep their order."""
        score_N = self._totals(view, sums, slots_N)
        order_N = np.argsort(-score_N, kind="stable")
        return slots_N[order_N], score_N[order_N]

    def _vendi(self, query: SearchQuery, view: View, hits: list[Hit]) -> float | None:
        if query.diversify is None and query.deduplicate is None:
            return None
        rows = [hit.image for hit in hits]
        fields = {} if query.diversify is None else query.diversify.fields
        return vendi_of(view.vectors_at([row.slot for row in rows]), rows, fields)

    def _finder(
        self, query: SearchQuery, terms: Sequence[Term], view: View, allow: Bitmap
    ) -> Callable[[Question, int], Found]:
        """A function from a question and k to the best k of what may come."""
        without = named(query.parts, view)
        if not all(term.is_linear for term in terms):
            allow = view.without(allow, without)

            def scan(question: Question, k: int) -> Found:
                everything = self._score_all(view, Sums(question, terms), allow)
                return Found(best(everything, k), "exact", len(everything.slots_K))

            return scan

        def find(question: Question, k: int) -> Found:
            direction_D, offset = combined(question.direction_D, terms)
            matches = view.search(direction_D, k, allow=allow, without=without, recall=query.recall)
            if self._monitor is not None and matches.mode == "top_k":
                sample = Sample(view, direction_D, allow, without, query.recall, matches.slots_K)
                self._monitor.offer(sample)
            return Found(Scored(matches.scores_K - offset, matches.slots_K), matches.mode, matches.candidates)

        return find

    def _score_all(self, view: View, sums: Sums, allow: Bitmap) -> Scored:
        """Every eligible picture; one without a value is neither raised nor lowered by the axis."""
        total = self._taste.total(sums.terms, view, allow)
        score_N = np.nan_to_num(total.scores_K, nan=0.0)
        if not sums.question.is_empty:
            score_N += view.matrix.project(sums.question.direction_D, allow.rows())
        return Scored(score_N, total.slots_K)

    def _shares(self, view: View, sums: Sums, slots_K: Int64[ndarray, " k"]) -> dict[str, ndarray]:
        """What each term gives the score of each picture; a missing value gives nothing."""
        vectors_KD = view.vectors_at(slots_K)
        shares = {name: vectors_KD @ share_D for name, share_D in sums.question.shares.items()}
        shares |= self._taste.shares(sums.terms, view, slots_K)
        return {name: np.nan_to_num(share_K, nan=0.0) for name, share_K in shares.items()}

    def _totals(self, view: View, sums: Sums, slots_K: Int64[ndarray, " k"]) -> ndarray:
        return np.sum([np.zeros(len(slots_K)), *self._shares(view, sums, slots_K).values()], axis=0)

    def _explained(self, view: View, sums: Sums, found: Scored) -> list[Hit]:
        """Hits with the share of each term in their score."""
        rows = view.rows_at(found.slots_K)
        score_at = dict(zip(found.slots_K.tolist(), found.scores_K.tolist(), strict=True))
        shares = self._shares(view, sums, np.array([row.slot for row in rows], np.int64))
        return [
            Hit(row, score_at[row.slot], {name: float(share_K[i]) for name, share_K in shares.items()})
            for i, row in enumerate(rows)
        ]


def _credited(hits: list[Hit], alone: Mapping[str, Found]) -> list[Hit]:
    """Hits with the names of the searches that show them without the others' help."""
    shown = {name: set(found.scored.slots_K.tolist()) for name, found in alone.items()}
    return [
        replace(hit, found_by=tuple(name for name, slots in shown.items() if hit.image.slot in slots))
        for hit in hits
    ]


def _kept(query: SearchQuery, view: View, wanted: int, find: Callable[[int], Found]) -> Found:
    """The `wanted` best that the query keeps, or all there are: groups and a threshold take some away."""
    ask = wanted
    while True:
        found = find(ask)
        kept = found.scored
        if query.min_score is not None:
            kept = kept.part(kept.scores_K >= np.float32(query.min_score))
        ended = len(kept.slots_K) < ask  # by the threshold, or because there are no more
        if query.group_by is not None:
            kept = kept.part(_first_of_each(view.keys(query.group_by, kept.slots_K)))
        if ended or len(kept.slots_K) >= wanted:
            return Found(kept.part(slice(wanted)), found.mode, found.candidates)
        ask *= 4


def _first_of_each(key_K: Int64[ndarray, " k"]) -> ndarray:
    """True where a key stands for the first time, and where there is none."""
    keep_K = key_K < 0
    keep_K[np.unique(key_K, return_index=True)[1]] = True
    return keep_K
