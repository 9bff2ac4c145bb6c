"""Logistic loss with a ridge, and its minimum by a damped Newton method. Pure functions.

    P(y = 1 | x) = σ(w·x),   loss(w) = mean_n log(1 + exp(-s_n x_n·w)) + ½ Σ_f λ_f w_f²,   s = 2y - 1

Rows come multiplied by their sign s_n: an ordered pair is the difference of its pictures with the label 1, a
labelled example its features with the sign of its label, and a bias is a column of ones with λ_f = 0.

Dimension key   N examples, F features
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

MOST_STEPS = 100
GRADIENT_TOLERANCE = 1e-9
STEP_TOLERANCE = 1e-8  # a flat loss has a small gradient far from its minimum
ROUNDING = 1e-15  # of a loss, relative
DECREASE = 1e-4  # of what the slope promises: Armijo's rule
SHORTEST_STEP = 1e-10
SURE = 1e-15  # least curvature of an example: when all are sure, the Hessian must stay invertible


@dataclass(frozen=True, slots=True)
class LossAt:
    """The loss at one point, and its derivatives."""

    value: float
    gradient_F: Float64[ndarray, " f"]
    hessian_FF: Float64[ndarray, "f f"]


def sigmoid(x_N: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    # Either branch alone overflows on one side.
    small_N = np.exp(-np.abs(x_N))
    return np.where(x_N >= 0, 1.0, small_N) / (1.0 + small_N)


def logistic_loss(
    weight_F: Float64[ndarray, " f"], signed_NF: Float64[ndarray, "n f"], penalty_F: Float64[ndarray, " f"]
) -> LossAt:
    """The loss at `weight_F`, with its gradient and Hessian.

    Args:
        weight_F: Where.
        signed_NF: Rows with the sign of their labels.
        penalty_F: λ ≥ 0 of each weight.
    """
    margin_N = signed_NF @ weight_F
    wrong_N = sigmoid(-margin_N)
    value = np.logaddexp(0.0, -margin_N).mean() + 0.5 * (penalty_F * weight_F) @ weight_F
    gradient_F = -(wrong_N @ signed_NF) / len(margin_N) + penalty_F * weight_F
    curve_N = np.maximum(wrong_N * (1.0 - wrong_N), SURE)
    root_NF = signed_NF * np.sqrt(curve_N / len(margin_N))[:, None]
    hessian_FF = root_NF.T @ root_NF + np.diag(penalty_F)  # AᵀA costs BLAS half of AᵀB
    return LossAt(float(value), gradient_F, hessian_FF)


def least_loss(
    signed_NF: Float64[ndarray, "n f"], penalty_F: Float64[ndarray, " f"]
) -> Float64[ndarray, " f"]:
    """The weights with the least loss; the step is halved until the loss falls, as it must along Newton's.

    The minimum is unique and finite where every direction is penalised, or shows examples of both labels.
    """
    weight_F = np.zeros(signed_NF.shape[1])
    at = logistic_loss(weight_F, signed_NF, penalty_F)
    for _ in range(MOST_STEPS):
        step_F = np.linalg.solve(at.hessian_FF, at.gradient_F)
        if np.abs(at.gradient_F).max() < GRADIENT_TOLERANCE and np.abs(step_F).max() < STEP_TOLERANCE:
            break
        slope, share = float(at.gradient_F @ step_F), 1.0
        following = logistic_loss(weight_F - step_F, signed_NF, penalty_F)
        most = at.value + ROUNDING * abs(at.value)  # near the minimum, a step changes less than rounding does
        while following.value > most - DECREASE * share * slope and share > SHORTEST_STEP:
            share /= 2
            following = logistic_loss(weight_F - share * step_F, signed_NF, penalty_F)
        weight_F, at = weight_F - share * step_F, following
    return weight_F
