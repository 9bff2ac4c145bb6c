"""How well a query finds the picture that it describes. Pure functions over score matrices.

Dimension key   Q queries, N pictures
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares in percent of `queries` asked over `pictures`; ranks count from 1."""

    queries: int
    pictures: int
    at_1: float
    at_5: float
    at_10: float
    median_rank: float


def recall(score_QN: Float32[ndarray, "q n"], texts: Sequence[str], captions: Sequence[str | None]) -> Recall:
    """Recall of captions against their own pictures.

    Pictures with the same caption cannot be told apart by it: the best placed of them counts.

    Args:
        score_QN: Larger is better.
        texts: What each query said.
        captions: The caption of each picture in the language of the queries; None where it has none.
    """
    holders: dict[str, list[int]] = {}
    for n, caption in enumerate(captions):
        if caption is not None:
            holders.setdefault(caption, []).append(n)
    rank_Q = ranks(score_QN, [holders[text] for text in texts])
    at_1, at_5, at_10 = (100.0 * float(np.mean(rank_Q <= k)) for k in (1, 5, 10))
    return Recall(len(texts), len(captions), at_1, at_5, at_10, float(np.median(rank_Q)))


def ranks(score_QN: Float32[ndarray, "q n"], right: Sequence[Sequence[int]]) -> Int64[ndarray, " q"]:
    """For each query the rank, from 1, of the best placed right picture; ties count against it."""
    best_Q = np.array([score_QN[q, list(own)].max() for q, own in enumerate(right)])
    wrong_QN = np.ones(score_QN.shape, bool)
    for q, own in enumerate(right):
        wrong_QN[q, list(own)] = False
    above_Q = ((score_QN >= best_Q[:, None]) & wrong_QN).sum(axis=1)
    return np.asarray(1 + above_Q, np.int64)
