"""Rewards that look at embeddings: a number of the picture's, or its likeness to the prompt's.

    agreement   s · <t̂, î>     t̂, î: unit embeddings of prompt and picture, s: 1, or a model's own logit scale

Dimension key   N pictures, D embedding
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from numpy import ndarray

from training.rewards.cached_encoder import CachedEncoder
from training.rewards.reward import RewardCard

Value = Callable[[Float32[ndarray, "n d"]], Float[ndarray, " n"]]


@dataclass(frozen=True, slots=True)
class EmbeddedReward:
    """`value` of the pictures' embeddings: a head, or an axis."""

    encoder: CachedEncoder
    value: Value
    card: RewardCard

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        return np.asarray(self.value(self.encoder.images(pictures)), np.float64)


@dataclass(frozen=True, slots=True)
class AgreementReward:
    """How well a picture and its prompt agree: `scale` times their cosine."""

    encoder: CachedEncoder
    card: RewardCard
    scale: float = 1.0

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        image_ND, text_ND = self.encoder.images(pictures), self.encoder.texts(prompts)
        return self.scale * np.einsum("nd,nd->n", image_ND, text_ND, dtype=np.float64)
