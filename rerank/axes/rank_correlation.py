"""Spearman's rank correlation, its interval, and the largest that ties allow.

Dimension key   N labelled pictures, G distinct values
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from numpy.random import Generator

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """Holds the true value with the probability that was asked for; NaN where it cannot be known."""

    low: float
    high: float

    def includes(self, value: float) -> bool:
        """Also when it is not known."""
        return not (self.low > value or self.high < value)


def spearman(score_N: ndarray, label_N: ndarray) -> float:
    """Pearson correlation of the ranks, average ranks for ties; NaN where one side does not vary."""
    return pearson(_ranks(score_N), _ranks(label_N))


def pearson(a_N: ndarray, b_N: ndarray) -> float:
    """NaN where one side does not vary."""
    if np.ptp(a_N) == 0 or np.ptp(b_N) == 0:  # whose mean may be off by rounding
        return float("nan")
    return _weighted_pearson(np.asarray(a_N, np.float64), np.asarray(b_N, np.float64), np.ones(len(a_N)))


def tie_limited_maximum(label_N: ndarray) -> float:
    """The largest `spearman` that scores without ties can reach against these labels; 1 without ties."""
    return spearman(np.argsort(np.argsort(label_N, kind="stable")), label_N)


def spearman_interval(
    score_N: ndarray, label_N: ndarray, rng: Generator, *, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Percentile bootstrap over pictures; resamples in which one side does not vary are left out.

    A perfect order stays perfect in every resample: few pictures look more certain than they are.
    """
    n = len(score_N)
    score_of_N, label_of_N = (np.unique(values, return_inverse=True)[1] for values in (score_N, label_N))
    found = [
        # How often each picture is drawn; ranks of a resample follow from the counts, without sorting again.
        _weighted_pearson(_counted_ranks(score_of_N, count_N), _counted_ranks(label_of_N, count_N), count_N)
        for count_N in (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples))
    ]
    known = np.array(found)[~np.isnan(found)]
    if len(known) == 0:
        return Interval(np.nan, np.nan)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def _ranks(values_N: ndarray) -> Float64[ndarray, " n"]:
    inverse_N = np.unique(values_N, return_inverse=True)[1]
    return _counted_ranks(inverse_N, np.ones(len(inverse_N)))


def _counted_ranks(place_N: Int64[ndarray, " n"], count_N: ndarray) -> Float64[ndarray, " n"]:
    """Average ranks when row n occurs count_N[n] times; place_N is its place among the distinct values."""
    total_G = np.bincount(place_N, weights=count_N)
    rank_G = np.cumsum(total_G) - total_G + (total_G + 1) / 2
    return rank_G[place_N]


def _weighted_pearson(a_N: ndarray, b_N: ndarray, count_N: ndarray) -> float:
    # Plain sums: vectors this short are summed faster than BLAS wakes its threads, a thousand times over.
    total = count_N.sum()
    a_N = a_N - (count_N * a_N).sum() / total
    b_N = b_N - (count_N * b_N).sum() / total
    weighted_N = count_N * a_N
    spread = np.sqrt((weighted_N * a_N).sum() * (count_N * b_N * b_N).sum())
    return float(np.clip((weighted_N * b_N).sum() / spread, -1, 1)) if spread > 0 else float("nan")
