"""Labelled pictures into training, validation and test, or into folds, without tearing groups apart.

Dimension key   N labelled pictures, G groups
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from numpy.random import Generator

from indexer.errors import InvalidAxisError


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of each side, rising; no group is on two sides."""

    train_I: Int64[ndarray, " i"]
    validation_I: Int64[ndarray, " j"]
    test_I: Int64[ndarray, " k"]


def split_groups(group_N: ndarray, rng: Generator, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """About `validation` and `test` of the rows, the rest for training; whole groups, at least one a side.

    Args:
        group_N: What must not be torn apart: a person, a scene; else a number for each row.
        rng: Equal state, equal split.
        validation: Share of the rows.
        test: Share of the rows.

    Raises:
        InvalidAxisError: Fewer than three groups.
    """
    _, place_N, size_G = np.unique(group_N, return_inverse=True, return_counts=True)
    if len(size_G) < 3:
        raise InvalidAxisError(
            f"{len(size_G)} groups of labelled pictures cannot be split into training, validation and test: "
            "expected at least 3"
        )
    order_G = rng.permutation(len(size_G))
    order_G = order_G[
        np.argsort(size_G[order_G], kind="stable")
    ]  # the smallest two begin test and validation
    side_G = np.zeros(len(size_G), np.int64)
    side_G[order_G[0]], side_G[order_G[1]] = 2, 1
    lacking = np.array([1 - validation - test, validation, test]) * len(group_N)
    lacking[2] -= size_G[order_G[0]]
    lacking[1] -= size_G[order_G[1]]
    for g in rng.permutation(order_G[2:]):
        side_G[g] = np.argmax(lacking)
        lacking[side_G[g]] -= size_G[g]
    side_N = side_G[place_N]
    return Split(*(np.flatnonzero(side_N == side) for side in range(3)))


def fold_groups(group_N: ndarray, folds: int, rng: Generator) -> Int64[ndarray, " n"]:
    """The fold of each row, from 0; whole groups, about equally many rows a fold."""
    _, place_N, size_G = np.unique(group_N, return_inverse=True, return_counts=True)
    order_G = rng.permutation(len(size_G))
    order_G = order_G[np.argsort(-size_G[order_G], kind="stable")]
    fold_G, filled = np.zeros(len(size_G), np.int64), np.zeros(folds)
    for g in order_G:
        fold_G[g] = np.argmin(filled)
        filled[fold_G[g]] += size_G[g]
    return fold_G[place_N]
