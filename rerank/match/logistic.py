"""Logistic regression with a ridge, by Newton's method.

    P(y = 1 | x) = 1 / (1 + exp(-(w·z + b))),   z = clip((x - centre) / scale, -4, 4)
    w, b = argmin  -Σ_n log P(y_n | x_n)  +  λ/2 |w|²

Dimension key   N examples, F features
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

FARTHEST = 4.0  # standard deviations: one wild feature must not decide alone
FLAT = 1e-9  # scale below which a feature says nothing
STEPS = 50
DONE = 1e-8  # of a Newton step


@dataclass(frozen=True, slots=True)
class Logistic:
    """Weights for standardised features; `bias` is not penalised."""

    centre_F: Float64[ndarray, " f"]
    scale_F: Float64[ndarray, " f"]
    weight_F: Float64[ndarray, " f"]
    bias: float

    def probability(self, x_NF: Float64[ndarray, "n f"]) -> Float64[ndarray, " n"]:
        return sigmoid(self._standard(x_NF) @ self.weight_F + self.bias)

    def _standard(self, x_NF: Float64[ndarray, "n f"]) -> Float64[ndarray, "n f"]:
        return np.clip((x_NF - self.centre_F) / self.scale_F, -FARTHEST, FARTHEST)

    @classmethod
    def fit(cls, x_NF: Float64[ndarray, "n f"], y_N: Bool[ndarray, " n"], ridge: float) -> "Logistic":
        """The unique minimum; `y_N` holds both answers, and `ridge` is positive."""
        scale_F = x_NF.std(axis=0)
        unfitted = cls(
            x_NF.mean(axis=0), np.where(scale_F > FLAT, scale_F, 1.0), np.zeros(x_NF.shape[1]), 0.0
        )
        weight_F, bias = _minimum(unfitted._standard(x_NF), y_N.astype(np.float64), ridge)
        return cls(unfitted.centre_F, unfitted.scale_F, weight_F, bias)


def sigmoid(x_N: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    # Either branch alone overflows on one side.
    small_N = np.exp(-np.abs(x_N))
    return np.where(x_N >= 0, 1.0, small_N) / (1.0 + small_N)


def _minimum(
    z_NF: Float64[ndarray, "n f"], y_N: Float64[ndarray, " n"], ridge: float
) -> tuple[Float64[ndarray, " f"], float]:
    design_NG = np.column_stack([z_NF, np.ones(len(z_NF))])
    penalty_G = np.full(design_NG.shape[1], ridge)
    penalty_G[-1] = 0.0
    solution_G = np.zeros(design_NG.shape[1])
    for _ in range(STEPS):
        p_N = sigmoid(design_NG @ solution_G)
        gradient_G = design_NG.T @ (y_N - p_N) - penalty_G * solution_G
        curve_N = np.maximum(p_N * (1.0 - p_N), FLAT)  # all sure: the Hessian must stay invertible
        hessian_GG = (design_NG * curve_N[:, None]).T @ design_NG + np.diag(penalty_G)
        step_G = np.linalg.solve(hessian_GG, gradient_G)
        before = _loss(design_NG, y_N, solution_G, penalty_G)
        # The loss is convex: a step that raises it went too far.
        while _loss(design_NG, y_N, solution_G + step_G, penalty_G) > before and np.abs(step_G).max() > DONE:
            step_G = step_G / 2.0
        solution_G = solution_G + step_G
        if np.abs(step_G).max() < DONE:
            break
    return solution_G[:-1], float(solution_G[-1])


def _loss(
    design_NG: Float64[ndarray, "n g"],
    y_N: Float64[ndarray, " n"],
    solution_G: Float64[ndarray, " g"],
    penalty_G: Float64[ndarray, " g"],
) -> float:
    logit_N = design_NG @ solution_G
    misfit = np.logaddexp(0.0, logit_N).sum() - y_N @ logit_N
    return float(misfit + 0.5 * (penalty_G * solution_G**2).sum())
