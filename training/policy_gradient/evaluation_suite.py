"""The suite that every few epochs is the same: held-out prompts, fixed noise, no noise in the steps.

Dimension key   N pictures, F features
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from indexer.imaging.contact_sheet import contact_sheet
from indexer.imaging.enlarge import enlarge, to_png
from training.diffusion.steps import Steps
from training.policies.adapters import holding
from training.policies.policy import Policy
from training.policy_gradient.evaluation import Evaluation, Pictures, RewardSet
from training.rollout import draw, noise_of

SHOWN = 16  # pictures of a contact sheet
TILE_PX = 96
FIRST_SEED = 1_000_000  # of the noise that the pictures begin with


@dataclass(frozen=True)
class EvaluationSuite:
    """`base` are the weights that training started from, `steps` a sampler without noise.

    `prompts` has one entry a picture.
    """

    policy: Policy
    reward_set: RewardSet
    prompts: Sequence[str]
    steps: Steps
    base: Mapping[str, Tensor]
    batch: int

    def take(self, weights: Mapping[str, Tensor]) -> tuple[Evaluation, Pictures]:
        """What these weights draw, and what it is worth."""
        pictures = self._draw(weights)
        return self.reward_set.evaluate(pictures, self.prompts, self._of_base[1]), pictures

    @property
    def of_base(self) -> Evaluation:
        return self._of_base[0]

    @cached_property
    def _of_base(self) -> tuple[Evaluation, Float32[ndarray, "n f"]]:
        pictures = self._draw(self.base)
        return self.reward_set.evaluate(pictures, self.prompts, None), self.reward_set.features(pictures)

    def _draw(self, weights: Mapping[str, Tensor]) -> Pictures:
        seeds = [FIRST_SEED + number for number in range(len(self.prompts))]
        start_NKHW = noise_of(seeds, self.policy.latent_KHW)
        rng = torch.Generator().manual_seed(FIRST_SEED)
        with holding(self.policy, weights):
            return draw(self.policy, self.prompts, start_NKHW, self.steps, rng, batch=self.batch)


def sheet(pictures: Pictures, prompts: Sequence[str]) -> bytes:
    """The first of them with their prompts, as PNG."""
    shown = list(zip(pictures, prompts, strict=True))[:SHOWN]
    return contact_sheet(
        [(to_png(enlarge(pixels, TILE_PX)), prompt) for pixels, prompt in shown], tile_px=TILE_PX
    )
