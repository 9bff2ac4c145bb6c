"""A query → pictures in order. Taste is linear, so ranking is search:

    score(x) = q·x + Σ_a s_a (v_a·x - μ_a) = (q + Σ_a s_a v_a)·x - Σ_a s_a μ_a

One inner product over the whole collection, whatever the mix: see `rerank.axes.terms`. An axis that is not
linear in x makes every eligible picture be scored. What is asked of the hits as a set comes second:
`rerank.shortlist`.

Dimension key   N eligible pictures, K hits, D embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from indexer.errors import InvalidCursorError, InvalidQueryError
from indexer.protocols import Matches, Snapshot
from indexer.where import EVERYTHING, Matching, both
from indexer.words import WordQuery
from rerank.axes.terms import AxisScorer, scales, warnings
from rerank.clock import Clock
from rerank.cursor import Cursor, fingerprint, opened
from rerank.match.cache import MatchCache
from rerank.match.evidence import HITS
from rerank.match.model import Match
from rerank.monitor import RecallMonitor
from rerank.page import Page, following
from rerank.plan import Plan
from rerank.query import QueryEncoder, Question, named, rephrasable, rephrased
from rerank.rephrase.rephraser import Rephraser
from rerank.rephrase.types import Rewrite
from rerank.shortlist import shortlist, vendi_of
from rerank.types import QUERY_TERM, REWRITE_TERM, Answer, CandidateMode, Hit, SearchQuery, TextPart
from rerank.words import NOTHING, Wording, spoken, wording

MOST_COUNTS = 100  # values of a field in one answer
DEEPEST = 10_000  # hits that paging through an approximate search can reach; exact ones have no end


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Hits of one page, and how they came about."""

    hits: list[Hit]
    following: Cursor | None
    mode: CandidateMode
    candidates: int
    vendi: float | None = None


class Searcher:
    """Stateless but for caches; safe to call from threads."""

    def __init__(
        self,
        queries: QueryEncoder,
        scorer: AxisScorer,
        rephraser: Rephraser,
        matches: MatchCache,
        monitor: RecallMonitor | None,
    ) -> None:
        self._queries = queries
        self._scorer = scorer
        self._rephraser = rephraser
        self._matches = matches
        self._monitor = monitor

    def search(self, query: SearchQuery, snapshot: Snapshot, cursor: Cursor | None) -> Answer:
        """The best `query.limit` pictures for parts and axes together, best first; ties by age.

        Args:
            query: What is asked.
            snapshot: Of the version that `cursor` names, or for a first page the newest.
            cursor: What the page before ended with.

        Raises:
            InvalidQueryError, InvalidFilterError, InvalidCursorError, UnknownAxisError, NotFoundError,
            UnreadableImageError, ModelMismatchError: As named.
        """
        if not query.parts and not query.axes:
            raise InvalidQueryError("nothing to look for: give a query, axes, or both")
        clock = Clock()
        parts, said = spoken(query.parts, query.mode)
        if query.parts and not parts and not query.axes and query.mode != "words":
            raise InvalidQueryError("the query only says what must not be there: add what you look for")
        query = replace(query, parts=parts)
        asked = self._queries.ask(query.parts, snapshot)
        clock.lap("encode")
        cursor = opened(cursor, self._fingerprint(query, asked, said), snapshot.version)
        if cursor.shown and cursor.score is None:  # a search has a score for every picture
            raise InvalidCursorError("this cursor is damaged: send it back exactly as it came")
        limits = self._scorer.limits(query.percentiles, snapshot, cursor.limits)
        unit = 1.0 if asked.is_empty else self._scorer.spread(asked.direction_D, snapshot).std
        told = wording(
            said, snapshot, query.words_weight, unit, cursor.words, mode=query.mode, typing=query.typing
        )
        clock.lap("words")
        cursor = replace(cursor, limits=limits, words=told.fixed)
        rewrite = self._rephrased(query)
        if rewrite is not None:
            cursor = replace(cursor, rewrite=rewrite.text)
            clock.lap("rephrase")
        plan = self._plan(query, asked, told, snapshot, cursor)
        clock.lap("filter")
        page = (self._arranged if query.has_second_stage else self._paged)(query, plan, cursor)
        clock.lap("search")
        hits = page.hits
        if rewrite is not None and rewrite.text is not None:
            hits = self._credited(query, plan, asked, rewrite.text, hits)
            clock.lap("credit")
        match = self._judged(query, asked, plan, hits)
        clock.lap("match")
        return Answer(
            hits=hits,
            cursor=None if page.following is None else page.following.encode(),
            mode=page.mode,
            candidates=page.candidates,
            version=snapshot.version,
            images=snapshot.images,
            model_id=self._queries.model_id,
            timings_ms=clock.laps(),
            facets={
                name: snapshot.facets(name, plan.eligible, most=MOST_COUNTS)
                for name in dict.fromkeys(query.facets)
            },
            rewritten=cursor.rewrite is not None,
            rewrite=rewrite,
            match=match,
            words=told.sought,
            vendi=page.vendi,
            warnings=(*warnings(plan.terms), *told.warnings),
        )

    def _plan(
        self, query: SearchQuery, asked: Question, told: Wording, snapshot: Snapshot, cursor: Cursor
    ) -> Plan:
        text = cursor.rewrite
        question = asked if text is None else self._queries.ask(query.parts, snapshot, rewrite=text)
        return Plan(
            snapshot,
            self._scorer,
            question,
            told,
            self._scorer.terms(query.axes, question, snapshot, cursor.scales),
            both(
                EVERYTHING if query.filter is None else Matching(query.filter),
                *told.required,
                *([told.matched] if query.mode == "words" else []),
                *self._scorer.within(cursor.limits),
            ),
            named(query.parts),
            query.recall,
            self._monitor,
        )

    def _fingerprint(self, query: SearchQuery, asked: Question, said: WordQuery | None) -> str:
        """Of all that must not change between two pages."""
        reranked = () if query.rerank is None else (query.rerank.axis,)
        axes = self._scorer.versions(query.axes, query.percentiles, reranked)
        values = (sorted(query.axes.items()), query.filter, sorted(query.percentiles.items()), query.recall)
        stages = (query.rephrase, query.rerank, query.deduplicate, query.diversify, query.pool)
        also = (query.min_score, query.group_by, said, query.words_weight, query.typing, *stages)
        return fingerprint("search", asked.direction_D.tobytes(), axes, *values, *also)

    def _rephrased(self, query: SearchQuery) -> Rewrite | None:
        """What became of the query on its first page; None where it was not asked for."""
        if query.rephrase is None or query.cursor is not None:
            return None
        text = rephrasable(query.parts)
        if text is None:
            reason = "there is not one text to rephrase"
            return Rewrite(query.rephrase, "original", "not_needed", None, reason, 0.0, None)
        return self._rephraser.rephrase(text.text, query.rephrase)

    def _judged(self, query: SearchQuery, asked: Question, plan: Plan, hits: Sequence[Hit]) -> Match | str:
        """How probable it is that something fits the words, whatever the axes; or why that is not known.

        Vectors alone are judged. Where all words of the query are written about a hit, they are no judge.
        """
        if query.cursor is not None:
            return "the first page says it"
        if not query.parts or not all(isinstance(part, TextPart) and part.weight > 0 for part in query.parts):
            return "only words are judged"
        snapshot, ids = plan.snapshot, [hit.image.id for hit in hits]
        has = [~np.isnan(snapshot.values(word, ids)) for word in plan.wording.each]
        if has and np.all(has, axis=0).any():
            return "all words of the query are written about one of the hits"
        model = self._matches.of(snapshot)
        if isinstance(model, str):
            return model
        best = snapshot.nearest(asked.direction_D, HITS, plan.eligible, recall=query.recall)
        spread = self._scorer.spread(asked.direction_D, snapshot)
        match = model.judge(asked.direction_D, best.scores_K, snapshot.vectors(best.ids_K), spread)
        return f"fewer than {HITS} pictures may come" if match is None else match

    def _credited(
        self, query: SearchQuery, plan: Plan, asked: Question, rewrite: str, hits: list[Hit]
    ) -> list[Hit]:
        """`hits`, each with the names of those of the two queries that would show it on their own."""
        alone = self._queries.ask(rephrased(query.parts, rewrite), plan.snapshot)
        shown = {
            name: set(plan.top(question, query.limit).ids_K.tolist())
            for name, question in ((QUERY_TERM, asked), (REWRITE_TERM, alone))
        }
        return [
            replace(hit, found_by=tuple(name for name, ids in shown.items() if hit.image.id in ids))
            for hit in hits
        ]

    def _paged(self, query: SearchQuery, plan: Plan, cursor: Cursor) -> ResultPage:
        """A page of all there is, in the order of the scores."""
        page = Page(cursor, query.limit)
        ask = page.wanted
        found = _kept(query, plan, ask)
        while page.lacks(found, ask):
            ask = page.more(ask)
            found = _kept(query, plan, ask)
        cut = page.cut(found, deepest=None if found.mode == "exact" else DEEPEST)
        hits = plan.explained(cut.matches.ids_K, cut.matches.scores_K)
        return ResultPage(hits, following(cursor, cut, scales(plan.terms)), found.mode, found.candidates)

    def _arranged(self, query: SearchQuery, plan: Plan, cursor: Cursor) -> ResultPage:
        """A page of the pool, which the first page puts in order as a whole."""
        pool = max(query.pool, query.limit)
        ranked = self._with_rerank(query, plan, cursor)
        queue = cursor.queue
        if query.cursor is None:
            ids_N, score_N = _by_score(ranked, _kept(query, plan, pool).ids_K)
            arranged = shortlist(plan.snapshot, ids_N, score_N, query.deduplicate, query.diversify)
            queue = tuple(zip(arranged.ids, arranged.count_K.tolist(), strict=True))
        count, rest = dict(queue[: query.limit]), queue[query.limit :]
        ids_K = np.array([row.id for row in plan.snapshot.find(list(count))], np.int64)  # others were deleted
        hits = [
            replace(hit, duplicates=count[hit.image.id] - 1)
            for hit in ranked.explained(ids_K, ranked.totals(ids_K))
        ]
        after = replace(cursor, scales=scales(ranked.terms), queue=rest) if rest else None
        return ResultPage(hits, after, "top_k", pool, _vendi(query, plan.snapshot, hits))

    def _with_rerank(self, query: SearchQuery, plan: Plan, cursor: Cursor) -> Plan:
        """With the axis that the pool is sorted by: beside what there is, or in its place."""
        if query.rerank is None:
            return plan
        name, weight = query.rerank.axis, query.rerank.weight
        if name in query.axes:
            raise InvalidQueryError(f"axis {name!r} is weighed in the search already: leave it out of rerank")
        unit = None if weight is None else plan.question
        weights = {name: 1.0 if weight is None else weight}
        (term,) = self._scorer.terms(weights, unit, plan.snapshot, cursor.scales)
        if weight is None:
            unasked = replace(plan.question, shares={})
            return replace(plan, question=unasked, wording=NOTHING, terms=[term])
        return replace(plan, terms=[*plan.terms, term])


def _by_score(plan: Plan, ids_N: Int64[ndarray, " n"]) -> tuple[Int64[ndarray, " n"], Float64[ndarray, " n"]]:
    """`ids_N` by falling score; ties keep their order."""
    score_N = plan.totals(ids_N)
    order_N = np.argsort(-score_N, kind="stable")
    return ids_N[order_N], score_N[order_N]


def _vendi(query: SearchQuery, snapshot: Snapshot, hits: list[Hit]) -> float | None:
    if query.diversify is None and query.deduplicate is None:
        return None
    rows = [hit.image for hit in hits]
    fields = {} if query.diversify is None else query.diversify.fields
    return vendi_of(snapshot.vectors([row.id for row in rows]), rows, fields)


def _kept(query: SearchQuery, plan: Plan, wanted: int) -> Matches:
    """The `wanted` best that the query keeps, or all there are: groups and a threshold take some away."""
    ask = wanted
    while True:
        found = kept = plan.top(plan.question, ask)
        if query.min_score is not None:
            kept = kept.part(kept.scores_K >= np.float32(query.min_score))
        ended = len(kept.ids_K) < ask  # by the threshold, or because there are no more
        if query.group_by is not None:
            kept = kept.part(_first_of_each(plan.snapshot.groups(query.group_by, kept.ids_K)))
        if ended or len(kept.ids_K) >= wanted:
            return replace(kept.part(slice(wanted)), mode=found.mode, candidates=found.candidates)
        ask *= 4


def _first_of_each(key_K: Int64[ndarray, " k"]) -> ndarray:
    """True where a key stands for the first time, and where there is none."""
    keep_K = key_K < 0
    keep_K[np.unique(key_K, return_index=True)[1]] = True
    return keep_K
