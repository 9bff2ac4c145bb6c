"""Pictures in the order of axes. Exact: every eligible picture has its place, however deep one pages.

Dimension key   K hits, D embedding
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.attributes import Term
from indexer.errors import InvalidQueryError
from indexer.protocols import Matches, Snapshot
from indexer.types import ImageId, ImageRow
from indexer.where import EVERYTHING, Ids, Matching, Not, Where, both
from indexer.words import WordQuery
from rerank.axes.axis_values import attribute_of
from rerank.axes.terms import AxisScorer, ScoreTerm, scales, warnings
from rerank.clock import Clock
from rerank.cursor import Cursor, fingerprint, opened
from rerank.page import Cut, following
from rerank.query import QueryEncoder, Question, named
from rerank.types import Answer, CandidateMode, Distribution, Hit, Milestone, RankQuery
from rerank.words import Wording, spoken, wording

MILESTONES = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 100.0)


class Ranker:
    """Stateless; safe to call from threads."""

    def __init__(self, queries: QueryEncoder, scorer: AxisScorer) -> None:
        self._queries = queries
        self._scorer = scorer

    def rank(self, query: RankQuery, snapshot: Snapshot, cursor: Cursor | None) -> Answer:
        """The first `query.limit` pictures. Scores are in standard deviations of the collection; with several
        axes they are weighted and summed.

        Without parts every eligible picture is ordered and the answer is exact. With parts it is the best
        `query.candidates` matches that are ordered, and the answer says `top_k`, unless fewer were eligible.
        On a single axis pictures without a value stand last in either order, with score None; among several
        a missing value counts as average.

        Args:
            query: What is asked.
            snapshot: Of the version that `cursor` names, or for a first page the newest.
            cursor: What the page before ended with.

        Raises:
            InvalidQueryError, InvalidFilterError, InvalidCursorError, UnknownAxisError, NotFoundError,
            UnreadableImageError, ModelMismatchError: As named.
        """
        if not query.axes:
            raise InvalidQueryError("no axis to order by: name one, as in /rank?axis=aesthetics")
        clock = Clock()
        parts, said = spoken(query.parts, query.mode)
        asked = self._queries.ask(parts, snapshot)
        clock.lap("encode")
        cursor = opened(cursor, self._fingerprint(query, asked.direction_D, said), snapshot.version)
        unit = 1.0 if asked.is_empty else self._scorer.spread(asked.direction_D, snapshot).std
        told = wording(said, snapshot, query.words_weight, unit, cursor.words, mode=query.mode, typing=False)
        clock.lap("words")
        limits = self._scorer.limits(query.percentiles, snapshot, cursor.limits)
        cursor = replace(cursor, limits=limits, words=told.fixed)
        terms = self._scorer.terms(query.axes, None, snapshot, cursor.scales)
        where, mode = self._candidates(query, asked, told, snapshot, cursor)
        clock.lap("filter")
        found = snapshot.order(
            [term.to_store() for term in terms],
            query.limit + 1,  # one to know if more follow
            where,
            after=cursor.place,
            ascending=query.order == "asc",
            missing="last" if len(terms) == 1 else "average",
        )
        clock.lap("rank")
        cut = Cut(found.part(slice(query.limit)), len(found.ids_K) <= query.limit)
        hits = self._hits(terms, snapshot, cut.matches)
        after = following(cursor, cut, scales(terms))
        clock.lap("fetch")
        return Answer(
            hits=hits,
            cursor=None if after is None else after.encode(),
            mode=mode,
            candidates=found.candidates,
            version=snapshot.version,
            images=snapshot.images,
            model_id=self._queries.model_id,
            timings_ms=clock.laps(),
            words=told.sought,
            warnings=(*warnings(terms), *told.warnings),
        )

    def distribution(self, name: str, snapshot: Snapshot, *, bars: int) -> Distribution:
        """How the axis spreads over the collection, and pictures along its percentiles."""
        axis = self._scorer.axis(name)
        attribute = attribute_of(axis)
        spread = snapshot.statistics(attribute, bars=bars)
        quantiles = snapshot.quantiles(attribute, MILESTONES)
        rows = snapshot.rows([quantile.id for quantile in quantiles])
        return Distribution(
            axis=axis.name,
            version=axis.version,
            images=snapshot.images,
            missing=snapshot.images - spread.count,
            mean=spread.mean,
            std=spread.std,
            edges=tuple(spread.edges_B.tolist()),
            counts=tuple(spread.counts_B.tolist()),
            milestones=tuple(
                Milestone(percentile, quantile.value, row)
                for percentile, quantile, row in zip(MILESTONES, quantiles, rows, strict=False)
            ),
        )

    def _fingerprint(self, query: RankQuery, query_D: Float32[ndarray, " d"], said: WordQuery | None) -> str:
        """Of all that must not change between two pages."""
        axes = self._scorer.versions(query.axes, query.percentiles)
        asked = (sorted(query.axes.items()), query.filter, sorted(query.percentiles.items()), query.ids)
        also = (said, query.words_weight, query.order, query.candidates)
        return fingerprint("rank", query_D.tobytes(), axes, *asked, *also)

    def _candidates(
        self, query: RankQuery, asked: Question, told: Wording, snapshot: Snapshot, cursor: Cursor
    ) -> tuple[Where, CandidateMode]:
        """Which pictures are ordered, and whether those are all that could be."""
        parts: list[Where] = [EVERYTHING if query.filter is None else Matching(query.filter)]
        parts += [*self._scorer.within(cursor.limits), *told.required]
        if query.mode == "words":
            parts.append(told.matched)
        if names := named(query.parts):
            parts.append(Not(Ids(names)))
        if query.ids is not None:
            if query.cursor is None:  # one that was deleted since the first page does not end the list
                snapshot.rows(query.ids)
            parts.append(Ids(query.ids))
        where = both(*parts)
        if not query.parts or snapshot.count(where) <= query.candidates:
            return where, "exact"
        if asked.is_empty:  # words alone
            words = [] if told.words is None else [Term(told.words)]
            best = snapshot.order(words, query.candidates, where)
        else:
            also = None if told.words is None else (told.words, told.scale)
            best = snapshot.nearest(asked.direction_D, query.candidates, where, words=also)
        return Ids(tuple(ImageId(i) for i in best.ids_K.tolist())), "top_k"

    def _hits(self, terms: list[ScoreTerm], snapshot: Snapshot, found: Matches) -> list[Hit]:
        rows, scores = snapshot.rows(found.ids_K), found.scores_K.tolist()
        if len(terms) == 1:
            name = terms[0].axis.name
            return [_hit(row, score, {name: score}) for row, score in zip(rows, scores, strict=True)]
        shares = self._scorer.shares(terms, snapshot, found.ids_K)
        return [
            _hit(row, score, {name: float(share_K[k]) for name, share_K in shares.items()})
            for k, (row, score) in enumerate(zip(rows, scores, strict=True))
        ]


def _hit(row: ImageRow, score: float, shares: dict[str, float]) -> Hit:
    if np.isnan(score):
        return Hit(row, None, {})
    return Hit(row, score, {name: 0.0 if np.isnan(share) else share for name, share in shares.items()})
