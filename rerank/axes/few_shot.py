"""How few labels are enough: the same axis fitted on less and less. Pure functions.

Dimension key   N labelled pictures, M held-out pictures, K pictures of one end, D embedding
Paper           "Rankability of visual embeddings", arXiv:2507.03683: few-shot curve and two extremes.
Departures      Sizes, draws and tails are our choice; the paper does not publish its own. Draws of few labels
                that all have one value have no axis: they are left out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from indexer.errors import InvalidAxisError
from rerank.axes.direction import axis_between
from rerank.axes.rank_correlation import spearman
from rerank.axes.ridge import fit_left_out

SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DRAWS = 20
EXTREME_DRAWS = 50


@dataclass(frozen=True, slots=True)
class Draws:
    """Test SRCC over several draws of `n` labels (or of `n` pictures an end); `draws` of them had an axis."""

    n: int
    draws: int
    mean: float
    std: float

    @classmethod
    def of(cls, n: int, found: Sequence[float]) -> "Draws":
        known = np.array([srcc for srcc in found if not np.isnan(srcc)])
        if len(known) == 0:
            return cls(n, 0, float("nan"), float("nan"))
        return cls(n, len(known), float(known.mean()), float(known.std()))


def few_shot(
    vectors_ND: Float32[ndarray, "n d"],
    label_N: ndarray,
    test_ND: Float32[ndarray, "m d"],
    test_label_N: ndarray,
    rng: Generator,
    *,
    sizes: Sequence[int] = SIZES,
    draws: int = DRAWS,
    std_D: Float64[ndarray, " d"] | None = None,
) -> list[Draws]:
    """Test SRCC of axes from n labels, drawn evenly over the quantiles of the labels; the last n is all.

    `std_D` scales the columns, as in `Ridge.of`.
    """
    curve = []
    for n in (*(n for n in sizes if n < len(label_N)), len(label_N)):
        found = []
        for _ in range(draws if n < len(label_N) else 1):
            chosen_I = draw_stratified(label_N, n, rng)
            if np.ptp(label_N[chosen_I]) > 0:
                line = fit_left_out(vectors_ND[chosen_I], label_N[chosen_I], std_D=std_D)
                found.append(spearman(test_ND @ line.direction_D, test_label_N))
        curve.append(Draws.of(n, found))
    return curve


def two_extremes(
    vectors_ND: Float32[ndarray, "n d"],
    label_N: ndarray,
    test_ND: Float32[ndarray, "m d"],
    test_label_N: ndarray,
    rng: Generator,
    *,
    pairs: int,
    tail: float,
    draws: int = EXTREME_DRAWS,
) -> Draws:
    """Test SRCC of axes from `pairs` pictures of the lowest and of the highest `tail` of the labels.

    With `tail` 0 every draw is the lowest and the highest `pairs` themselves: one is enough.
    """
    found = []
    for _ in range(draws):
        high_K, low_K = draw_extremes(label_N, pairs, tail, rng)
        axis_D = axis_between(vectors_ND[high_K], vectors_ND[low_K])
        found.append(spearman(test_ND @ axis_D, test_label_N))
    return Draws.of(pairs, found)


def draw_stratified(label_N: ndarray, n: int, rng: Generator) -> Int64[ndarray, " n"]:
    """`n` rows, one at random from each of n equal parts of the labels in order; rising."""
    order_N = np.lexsort((rng.random(len(label_N)), label_N))
    return np.sort([part[rng.integers(len(part))] for part in np.array_split(order_N, n)])


def draw_extremes(
    label_N: ndarray, pairs: int, tail: float, rng: Generator
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " k"]]:
    """`pairs` different rows from the highest, and from the lowest, `tail` of the labels (never fewer)."""
    if not 0 < 2 * pairs <= len(label_N):
        raise InvalidAxisError(f"{pairs} pairs of extremes need {2 * pairs} labels; there are {len(label_N)}")
    order_N = np.lexsort((rng.random(len(label_N)), label_N))
    among = min(max(pairs, int(np.ceil(tail * len(label_N)))), len(label_N) // 2)
    low_K, high_K = (rng.choice(end_K, pairs, replace=False) for end_K in (order_N[:among], order_N[-among:]))
    return high_K, low_K
