"""How probable it is that a text search found what it was asked for.

A model judges the first ten hits by their `rerank.match.evidence`. It was learned from the collection itself
(`rerank.match.fit`), in one of two ways:

- from captions: logistic regression on captions whose picture is there, and on the same with it held out
- from the background, where there are no captions: how unlikely the hits are for a query that asks nothing

Dimension key   K hits, D embedding, F numbers of evidence
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from rerank.axes.statistics import Spread
from rerank.match.evidence import FEATURES, HITS, BackgroundQueries, evidence
from rerank.match.logistic import Logistic

Basis = Literal["captions", "background"]
# Of queries whose picture is on the first page, 14 % are then called a miss in a collection of 1,000, and of
# random letters 96 % (docs/matching.md).
DEFAULT_THRESHOLD = 0.1
EULER = float(np.euler_gamma)
NULL_FEATURES = tuple(FEATURES.index(name) for name in ("z", "cross_query_z"))
LEAST = 1e-12  # of a p-value: below, float64 has nothing more to say


@dataclass(frozen=True, slots=True)
class Match:
    """What a model says of one query.

    `probability`: that a picture that fits is among the first ten hits, if half of all queries have one in
    the collection. `held`: that the collection holds one, found or not; None where nothing is known of how
    many the encoder misses. `held` ≥ `probability`.
    """

    probability: float
    held: float | None
    basis: Basis


@dataclass(frozen=True, slots=True)
class Gumbel:
    """The largest of many chance scores: P(more than x) = 1 - exp(-exp(-(x - mode) / scale))."""

    mode: float
    scale: float

    @classmethod
    def of(cls, values_N: Float64[ndarray, " n"]) -> "Gumbel":
        """By moments: mean = mode + γ scale, variance = π² scale² / 6."""
        scale = max(float(values_N.std()) * np.sqrt(6.0) / np.pi, LEAST)
        return cls(float(values_N.mean()) - EULER * scale, float(scale))

    def tail(self, x: float) -> float:
        # Bounded: exp overflows, and a probability of 1 is reached long before.
        return float(-np.expm1(-np.exp(min(-(x - self.mode) / self.scale, 50.0))))


@dataclass(frozen=True, slots=True)
class FromCaptions:
    """`missed`: P(the collection holds a picture that fits | the first ten hits do not)."""

    logistic: Logistic
    missed: float

    def judge(self, evidence_F: Float64[ndarray, " f"]) -> Match:
        shown = float(self.logistic.probability(evidence_F[None])[0])
        return Match(shown, shown + (1.0 - shown) * self.missed, "captions")


@dataclass(frozen=True, slots=True)
class FromBackground:
    """The tails of `NULL_FEATURES` over queries that ask for nothing."""

    tails: tuple[Gumbel, ...]

    def judge(self, evidence_F: Float64[ndarray, " f"]) -> Match:
        values = (float(evidence_F[place]) for place in NULL_FEATURES)
        p = min(gumbel.tail(value) for gumbel, value in zip(self.tails, values, strict=True))
        return Match(posterior_from_p_value(min(1.0, p * len(self.tails))), None, "background")


@dataclass(frozen=True, slots=True)
class MatchModel:
    """Judges the text queries of one collection. `learned_from` counts the queries that taught it."""

    background: BackgroundQueries
    rule: FromCaptions | FromBackground
    learned_from: int

    @property
    def basis(self) -> Basis:
        return "captions" if isinstance(self.rule, FromCaptions) else "background"

    def judge(
        self,
        query_D: Float32[ndarray, " d"],
        scores_K: Float32[ndarray, " k"],
        vectors_KD: Float32[ndarray, "k d"],
        spread: Spread,
    ) -> Match | None:
        """What the best hits of `query_D` say; None when there are fewer than ten.

        Args:
            query_D: The unit vector of a text, or of several with positive weights.
            scores_K: query_D·x of the best hits, falling, with nothing added; ten are enough.
            vectors_KD: Those hits.
            spread: `Moments.along(query_D)`.
        """
        if len(scores_K) < HITS:
            return None
        return self.rule.judge(evidence(query_D, scores_K[:HITS], vectors_KD[:HITS], spread, self.background))


def posterior_from_p_value(p: float) -> float:
    """How much of even odds a p-value can take from chance: (1 - b) / (1 + b), b = min(1, -e p ln p).

    b bounds the Bayes factor of chance against anything else (Sellke, Bayarri and Berger 2001, Calibration of
    p values for testing precise null hypotheses): 0 for every p above 1/e, 0.42 at p = 0.05, 0.87 at 0.005.
    """
    if p >= 1.0 / np.e:
        return 0.0
    p = max(p, LEAST)
    bound = -np.e * p * np.log(p)
    return float((1.0 - bound) / (1.0 + bound))
