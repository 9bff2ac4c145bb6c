"""Several rewards as one.

    r = Σ_k w_k (r_k - μ_k) / σ_k        raw parts have μ = 0, σ = 1

μ and σ are fixed numbers of the configuration. The mean and deviation of a batch would make what a picture is
worth depend on its neighbours, and on the progress of the run.

Dimension key   N pictures, K parts
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from training.rewards.reward import Reward, RewardCard


@dataclass(frozen=True, slots=True)
class Part:
    """One summand. `weight` may be negative: then less of `reward` is better."""

    reward: Reward
    weight: float
    mean: float = 0.0
    std: float = 1.0

    def share(self, score_N: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        return self.weight * (score_N - self.mean) / self.std

    def describe(self) -> str:
        name = self.reward.card.name
        if (self.mean, self.std) == (0.0, 1.0):
            return f"{self.weight:g} x {name}"
        return f"{self.weight:g} x ({name} - {self.mean:g}) / {self.std:g}"


class MixtureReward:
    """The sum of `parts`, of which there is at least one."""

    def __init__(self, parts: Sequence[Part], card: RewardCard) -> None:
        self.parts = tuple(parts)
        cards = [part.reward.card for part in parts]
        ends_K2 = np.array(
            [part.share(np.array([c.low, c.high])) for part, c in zip(parts, cards, strict=True)]
        )
        self._card = replace(
            card,
            low=float(ends_K2.min(axis=1).sum()),
            high=float(ends_K2.max(axis=1).sum()),
            needs_prompt=any(c.needs_prompt for c in cards),
            licence="; ".join(dict.fromkeys(c.licence for c in cards)),
            source=" + ".join(part.describe() for part in parts),
        )

    @property
    def card(self) -> RewardCard:
        return self._card

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        total_N = np.zeros(len(pictures))
        for part in self.parts:
            total_N += part.share(part.reward.score(pictures, prompts))
        return total_N
