"""What the first hits of a text query say about whether they fit it: four numbers.

A score alone says little: an encoder gives some queries high scores whatever the pictures, and some pictures
high scores whatever the query. So it is compared with the query's other scores (z), and with what everyday
phrases score on the same pictures (cross_query_z, margin).

Dimension key   K hits, B phrases, D embedding, F numbers of evidence
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from rerank.axes.statistics import Spread

HITS = 10  # a first page; fewer are not judged
SYNONYMS = 0.999  # quantile of the likeness of two everyday phrases above which two texts mean the same
FLOOR = 1e-6  # of a standard deviation: equal scores
FEATURES = (
    "score",  # of the first hit
    "z",  # (score of the first hit - mean of the query's scores over the collection) / their deviation
    "cross_query_z",  # the largest (score - mean of the phrases on this picture) / their deviation
    "margin",  # the largest score less that of the best phrase on the same picture
)


@dataclass(frozen=True, slots=True)
class BackgroundQueries:
    """Everyday phrases as an encoder sees them. `near`: two texts at least so alike mean the same."""

    vectors_BD: Float32[ndarray, "b d"]
    near: float

    @classmethod
    def of(cls, vectors_BD: Float32[ndarray, "b d"]) -> "BackgroundQueries":
        like_BB = vectors_BD @ vectors_BD.T
        pairs = like_BB[np.triu_indices(len(vectors_BD), 1)]
        return cls(vectors_BD, float(np.quantile(pairs, SYNONYMS)))


def evidence(
    query_D: Float32[ndarray, " d"],
    scores_K: Float32[ndarray, " k"],
    vectors_KD: Float32[ndarray, "k d"],
    spread: Spread,
    background: BackgroundQueries,
) -> Float64[ndarray, " f"]:
    """The numbers that `FEATURES` names, of the `HITS` best hits.

    Args:
        query_D: Unit length.
        scores_K: Inner products with the query, falling; HITS of them.
        vectors_KD: The hits.
        spread: Of the query's scores over the collection.
        background: Phrases that mean the same as the query are not held against it.
    """
    assert len(scores_K) == len(vectors_KD) == HITS
    score_K = scores_K.astype(np.float64)
    rivals_B = background.vectors_BD @ query_D < background.near
    if not rivals_B.any():  # an encoder to which all phrases mean the same
        rivals_B[:] = True
    rival_BK = (background.vectors_BD @ vectors_KD.T)[rivals_B]
    z = (score_K[0] - spread.mean) / max(spread.std, FLOOR)
    cross_z_K = (score_K - rival_BK.mean(axis=0)) / np.maximum(rival_BK.std(axis=0), FLOOR)
    margin_K = score_K - rival_BK.max(axis=0)
    return np.array([score_K[0], z, cross_z_K.max(), margin_K.max()], np.float64)
