"""Labelled vectors, from a seed."""

import numpy as np
from numpy import ndarray

from tests.support.pictures import unit_vectors


def labelled(n: int, dim: int, seed: int = 1, noise: float = 0.3) -> tuple[ndarray, ndarray]:
    """Unit rows, and labels that follow one hidden direction with noise."""
    rng = np.random.default_rng(seed)
    vectors_ND = unit_vectors(n, dim, seed=seed)
    score_N = vectors_ND @ rng.standard_normal(dim)
    return vectors_ND, 5 + 2 * (score_N + noise * score_N.std() * rng.standard_normal(n))
