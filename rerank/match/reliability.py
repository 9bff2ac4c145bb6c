"""How good probabilities are: order (AUROC), honesty (calibration error) and both together (Brier).

Dimension key   N predictions, M bins
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions in one tenth of [0, 1]: how many, what they said on average, and what came true."""

    count: int
    said: float
    true: float


def auroc(score_N: Float64[ndarray, " n"], true_N: Bool[ndarray, " n"]) -> float:
    """P(a true one scores more than a false one), ties counting half; NaN when either is missing."""
    right, wrong = np.sort(score_N[true_N]), np.sort(score_N[~true_N])
    if not len(right) or not len(wrong):
        return float("nan")
    below_N = np.searchsorted(wrong, right, side="left")
    not_above_N = np.searchsorted(wrong, right, side="right")
    return float((below_N + not_above_N).mean() / (2 * len(wrong)))


def brier(p_N: Float64[ndarray, " n"], true_N: Bool[ndarray, " n"]) -> float:
    """Mean squared difference between probability and what came true."""
    return float(((p_N - true_N) ** 2).mean())


def bins(p_N: Float64[ndarray, " n"], true_N: Bool[ndarray, " n"]) -> list[Bin]:
    """The tenths that hold a prediction, rising."""
    place_N = np.minimum((p_N * BINS).astype(np.int64), BINS - 1)
    return [
        Bin(int(inside_N.sum()), float(p_N[inside_N].mean()), float(true_N[inside_N].mean()))
        for place in np.unique(place_N)
        for inside_N in [place_N == place]
    ]


def calibration_error(p_N: Float64[ndarray, " n"], true_N: Bool[ndarray, " n"]) -> float:
    """Mean over predictions of |said - true| of their bin (ECE)."""
    return sum(b.count * abs(b.said - b.true) for b in bins(p_N, true_N)) / len(p_N)
