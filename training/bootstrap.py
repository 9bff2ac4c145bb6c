"""A mean and how far to trust it.

Dimension key   N values, X resamples
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """With the 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap(value_N: Float64[ndarray, " n"], resamples: int, rng: np.random.Generator) -> Mean:
    """The mean with its percentile interval over `resamples` draws of N with replacement."""
    index_XN = rng.integers(len(value_N), size=(resamples, len(value_N)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(value_N[index_XN].mean(axis=1), [tail, 1 - tail])
    return Mean(float(value_N.mean()), float(low), float(high))
