"""An axis from ordered pairs: "this one has more of it than that one". Pure functions.

Dimension key   P pairs, D embedding, R rank of the differences
Model           Bradley-Terry with linear strengths: P(a before b) = σ(w·(x_a - x_b)), so with d = x_a - x_b

    loss(w) = mean log(1 + exp(-d·w)) + λ/2 |w|²

This is `rerank.logistic` with every label 1 and no bias. It is strictly convex: separable pairs have a finite
minimum too, and a cycle of pairs is data like any other.
The minimum lies in the span of the differences; with fewer pairs than columns it is looked for there.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from indexer.errors import InvalidAxisError
from rerank.axes.direction import SMALLEST_DIFFERENCE
from rerank.axes.rank_correlation import RESAMPLES, Interval
from rerank.axes.ridge import Line, unit_rows
from rerank.logistic import least_loss

PENALTIES = tuple(10.0**exponent for exponent in range(-5, 1))


def fit_pairs(more_PD: Float32[ndarray, "p d"], less_PD: Float32[ndarray, "p d"], *, penalty: float) -> Line:
    """The axis along which the pictures of `more_PD` come before their partners; bias 0.

    Raises:
        InvalidAxisError: No pair, or no pair whose pictures differ.
    """
    difference_PD = _differences(more_PD, less_PD)
    basis_DR = _span(difference_PD)
    weight_D = basis_DR @ _minimum(difference_PD @ basis_DR, penalty)
    gain = float(np.linalg.norm(weight_D))
    if not gain > 0:
        raise InvalidAxisError("the pairs cancel each other: no direction is better than any other")
    return Line((weight_D / gain).astype(np.float32), gain, 0.0, penalty)


def choose_pair_penalty(
    more_PD: Float32[ndarray, "p d"],
    less_PD: Float32[ndarray, "p d"],
    fold_P: Int64[ndarray, " p"],
) -> float:
    """The penalty with the least loss on left-out folds; the larger of equals."""
    difference_PD = _differences(more_PD, less_PD)
    difference_PR = difference_PD @ _span(difference_PD)

    def left_out_loss(penalty: float) -> float:
        total = 0.0
        for fold in range(int(fold_P.max()) + 1):
            weight_R = _minimum(difference_PR[fold_P != fold], penalty)
            total += float(np.logaddexp(0.0, -difference_PR[fold_P == fold] @ weight_R).sum())
        return total

    return min(sorted(PENALTIES, reverse=True), key=left_out_loss)


def order_kept(margin_P: ndarray) -> float:
    """Share of pairs in the right order less that in the wrong one: 1 all right, 0 chance, -1 all wrong."""
    return float(np.sign(margin_P).mean())


def order_kept_interval(margin_P: ndarray, rng: Generator, *, level: float = 0.95) -> Interval:
    """Percentile bootstrap of `order_kept` over the pairs."""
    count = len(margin_P)
    found = [order_kept(margin_P[rng.integers(0, count, count)]) for _ in range(RESAMPLES)]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(found, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def _differences(
    more_PD: Float32[ndarray, "p d"], less_PD: Float32[ndarray, "p d"]
) -> Float64[ndarray, "p d"]:
    if len(more_PD) == 0:
        raise InvalidAxisError("no pairs: an axis needs at least one")
    difference_PD = unit_rows(more_PD) - unit_rows(less_PD)
    if not np.linalg.norm(difference_PD, axis=1).max() > SMALLEST_DIFFERENCE:
        raise InvalidAxisError("the pictures of every pair look the same to this model: no direction")
    return difference_PD


def _span(difference_PD: Float64[ndarray, "p d"]) -> Float64[ndarray, "d r"]:
    """Orthonormal columns: all of the space, or with fewer pairs than columns the span of the pairs."""
    pairs, dim = difference_PD.shape
    return np.eye(dim) if pairs >= dim else np.linalg.qr(difference_PD.T)[0]


def _minimum(difference_PR: Float64[ndarray, "p r"], penalty: float) -> Float64[ndarray, " r"]:
    return least_loss(difference_PR, np.full(difference_PR.shape[1], penalty))
