"""Logistic regression with a ridge, over standardised features.

    P(y = 1 | x) = 1 / (1 + exp(-(w·z + b))),   z = clip((x - centre) / scale, -4, 4)
    w, b = argmin  -Σ_n log P(y_n | x_n)  +  λ/2 |w|²

Dimension key   N examples, F features, G features and the bias
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from rerank.logistic import least_loss, sigmoid

FARTHEST = 4.0  # standard deviations: one wild feature must not decide alone
FLAT = 1e-9  # scale below which a feature says nothing


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
        design_NG = np.column_stack([unfitted._standard(x_NF), np.ones(len(x_NF))])
        penalty_G = np.append(np.full(x_NF.shape[1], ridge / len(x_NF)), 0.0)  # of a mean, not of a sum
        solution_G = least_loss(design_NG * np.where(y_N, 1.0, -1.0)[:, None], penalty_G)
        return cls(unfitted.centre_F, unfitted.scale_F, solution_G[:-1], float(solution_G[-1]))
