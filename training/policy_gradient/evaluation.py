"""How good, how diverse and how far from the base model: always the same prompts and noise.

    diversity   Vendi score of the pictures' features, a number from 1 to the number of pictures
    drift       Fréchet distance between the features of these pictures and the base model's,
                ‖μ − μ_b‖² + tr(Σ + Σ_b − 2 (Σ Σ_b)^½), in units of tr Σ_b: 1 is as far as the base spreads
    departure   mean of 1 − cosine between a picture and the base model's picture of the same noise

Reference       Heusel et al., arXiv:1706.08500 (the distance; here with the features of `builtin-1` and
                few pictures, so only comparable with itself), `rerank.diversity.vendi_score`

Dimension key   N pictures, F features
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from rerank.diversity import embedding_kernel, vendi_score
from training.rewards.reward import Reward

Pictures = Sequence[UInt8[ndarray, "s s 3"]]
Features = Callable[[Pictures], Float32[ndarray, "n f"]]  # unit rows


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over pictures. `held_out` are rewards that nothing was trained on."""

    reward: float
    held_out: dict[str, float]
    diversity: float
    drift: float
    departure: float


@dataclass(frozen=True)
class RewardSet:
    """What pictures are measured with."""

    reward: Reward
    held_out: Mapping[str, Reward]
    features: Features

    def evaluate(
        self, pictures: Pictures, prompts: Sequence[str], base_NF: Float32[ndarray, "n f"] | None
    ) -> Evaluation:
        """`base_NF` are the features of the base model's pictures; None: these are they."""
        feature_NF = self.features(pictures)
        against_NF = feature_NF if base_NF is None else base_NF
        return Evaluation(
            float(self.reward.score(pictures, prompts).mean()),
            {name: float(reward.score(pictures, prompts).mean()) for name, reward in self.held_out.items()},
            vendi_score(embedding_kernel(feature_NF)),
            frechet(feature_NF, against_NF) / spread(against_NF),
            float(1 - (feature_NF * against_NF).sum(axis=1).mean()),
        )


def frechet(a_NF: Float[ndarray, "n f"], b_MF: Float[ndarray, "m f"]) -> float:
    """Between the normal distributions with the means and covariances of two sets of rows; ≥ 0.

    tr (Σ_a Σ_b)^½ is the sum of the singular values of A Bᵀ / √(n m), with A and B centred: no root of a
    matrix is taken, and fewer rows than features are no problem.
    """
    a_NF, b_MF = np.asarray(a_NF, np.float64), np.asarray(b_MF, np.float64)
    away = np.square(a_NF.mean(axis=0) - b_MF.mean(axis=0)).sum()
    centred_a_NF, centred_b_MF = a_NF - a_NF.mean(axis=0), b_MF - b_MF.mean(axis=0)
    shared = np.linalg.svd(centred_a_NF @ centred_b_MF.T, compute_uv=False).sum()
    return float(max(0.0, away + spread(a_NF) + spread(b_MF) - 2 * shared / np.sqrt(len(a_NF) * len(b_MF))))


def spread(row_NF: Float[ndarray, "n f"]) -> float:
    """The trace of the covariance: the mean squared distance of the rows from their mean."""
    return float(np.asarray(row_NF, np.float64).var(axis=0).sum())
