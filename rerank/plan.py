"""What is asked of a snapshot: which pictures may come, and what is added up for their scores.

Dimension key   K hits, D embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from indexer.attributes import Linear, Term
from indexer.protocols import Matches, Snapshot
from indexer.types import IdList, ImageId
from indexer.where import Ids, Not, Where, both
from rerank.axes.terms import AxisScorer, ScoreTerm, combined
from rerank.monitor import RecallMonitor, Sample
from rerank.query import Question
from rerank.types import WORDS_TERM, Hit
from rerank.words import Wording


@dataclass(frozen=True, slots=True)
class Plan:
    """A search before it runs. `eligible` pictures may come, those that the query names (`named`) do not."""

    snapshot: Snapshot
    scorer: AxisScorer
    question: Question
    wording: Wording
    terms: Sequence[ScoreTerm]
    eligible: Where
    named: tuple[ImageId, ...]
    recall: float
    monitor: RecallMonitor | None

    def top(self, question: Question, k: int) -> Matches:
        """The best `k` for a question, which need not be the plan's own, and the axes."""
        k = min(k, self.snapshot.images)
        where = both(self.eligible, Not(Ids(self.named))) if self.named else self.eligible
        words, scale = self.wording.words, self.wording.scale
        if not all(term.is_linear for term in self.terms) or (words is not None and question.is_empty):
            asked = [] if question.is_empty else [Term(Linear(question.direction_D))]
            asked += [] if words is None else [Term(words, scale)]
            return self.snapshot.order([*asked, *(term.to_store() for term in self.terms)], k, where)
        direction_D, offset = combined(question.direction_D, self.terms)
        also = None if words is None else (words, scale)
        matches = self.snapshot.nearest(direction_D, k, where, recall=self.recall, words=also)
        if self.monitor is not None and matches.mode == "top_k" and also is None:
            self.monitor.offer(Sample(self.snapshot, direction_D, where, self.recall, matches.ids_K))
        return replace(matches, scores_K=matches.scores_K - offset)

    def shares(self, ids_K: IdList) -> dict[str, Float64[ndarray, " k"]]:
        """What each term gives the score of each picture; a missing value gives nothing."""
        vectors_KD = self.snapshot.vectors(ids_K)
        shares = {name: vectors_KD @ share_D for name, share_D in self.question.shares.items()}
        if self.wording.words is not None:
            shares[WORDS_TERM] = self.wording.scale * self.snapshot.values(self.wording.words, ids_K)
        shares |= self.scorer.shares(self.terms, self.snapshot, ids_K)
        return {name: np.nan_to_num(share_K, nan=0.0) for name, share_K in shares.items()}

    def totals(self, ids_K: IdList) -> Float64[ndarray, " k"]:
        return np.sum([np.zeros(len(ids_K)), *self.shares(ids_K).values()], axis=0)

    def explained(self, ids_K: ndarray, scores_K: ndarray) -> list[Hit]:
        """Hits with the share of each term in their score."""
        shares = self.shares(ids_K)
        return [
            Hit(
                row,
                score,
                {name: float(share_K[k]) for name, share_K in shares.items()},
                highlights=self.wording.highlights(row),
            )
            for k, (row, score) in enumerate(zip(self.snapshot.rows(ids_K), scores_K.tolist(), strict=True))
        ]
