"""An axis from ordered pairs: "this one has more of it than that one". Pure functions.

Dimension key   P pairs, D embedding, R rank of the differences
Model           Bradley-Terry with linear strengths: P(a before b) = σ(w·(x_a - x_b)), so with d = x_a - x_b

    loss(w) = mean log(1 + exp(-d·w)) + λ/2 |w|²

It is strictly convex: separable pairs have a finite minimum too, and a cycle of pairs is data like any other.
The minimum lies in the span of the differences; with fewer pairs than columns it is looked for there.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from indexer.errors import InvalidAxisError
from rerank.axes.direction import SMALLEST_DIFFERENCE
from rerank.axes.fit import RESAMPLES, Interval, Line, unit_rows

PENALTIES = tuple(10.0**exponent for exponent in range(-5, 1))
MOST_STEPS = 100
GRADIENT_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class LossAt:
    """The loss at one point, and its derivatives."""

    value: float
    gradient_R: Float64[ndarray, " r"]
    hessian_RR: Float64[ndarray, "r r"]


def pair_loss(
    weight_R: Float64[ndarray, " r"], difference_PR: Float64[ndarray, "p r"], penalty: float
) -> LossAt:
    """Mean logistic loss of the pairs, and the penalty."""
    margin_P = difference_PR @ weight_R
    wrong_P = 0.5 * (1.0 - np.tanh(0.5 * margin_P))  # σ(-margin), without overflow
    value = np.logaddexp(0.0, -margin_P).mean() + 0.5 * penalty * weight_R @ weight_R
    gradient_R = -(wrong_P @ difference_PR) / len(margin_P) + penalty * weight_R
    root_PR = difference_PR * np.sqrt(wrong_P * (1.0 - wrong_P) / len(margin_P))[:, None]
    hessian_RR = root_PR.T @ root_PR + penalty * np.eye(len(weight_R))  # AᵀA costs BLAS half of AᵀB
    return LossAt(float(value), gradient_R, hessian_RR)


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
    """Newton's method; the step is halved until the loss falls, as it must along a Newton direction."""
    weight_R = np.zeros(difference_PR.shape[1])
    at = pair_loss(weight_R, difference_PR, penalty)
    for _ in range(MOST_STEPS):
        if np.abs(at.gradient_R).max() < GRADIENT_TOLERANCE:
            break
        step_R = np.linalg.solve(at.hessian_RR, at.gradient_R)
        slope, share = float(at.gradient_R @ step_R), 1.0
        following = pair_loss(weight_R - step_R, difference_PR, penalty)
        while following.value > at.value - 1e-4 * share * slope and share > 1e-10:
            share /= 2
            following = pair_loss(weight_R - share * step_R, difference_PR, penalty)
        weight_R, at = weight_R - share * step_R, following
    return weight_R
