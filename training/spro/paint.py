"""Pictures of prompts, all of one caption from the same noises, so that luck of the noise decides nothing.

Dimension key   N prompts, R draws of each, K H W latents
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.diffusion.ddim import ddim_steps, leading, scaled_linear
from training.diffusion.flow_sde import euler_steps, shifted_grid
from training.diffusion.steps import Steps
from training.policies.policy import Policy
from training.policy_gradient.evaluation import Pictures
from training.rollout import denoise, noise_of
from training.spro.config import PictureConfig


@dataclass(frozen=True)
class Painter:
    """Draws without noise in the steps: a prompt and its noise decide the picture."""

    policy: Policy
    config: PictureConfig

    def paint(self, prompts: Sequence[str], seeds: Sequence[Sequence[int]]) -> Float[Tensor, "n r k h w"]:
        """Clean latents on the CPU; `seeds` has one row a prompt, of the same length each."""
        flat = [seed for row in seeds for seed in row]
        asked = [prompt for prompt, row in zip(prompts, seeds, strict=True) for _ in row]
        start, steps, batch = noise_of(flat, self.policy.latent_KHW), self._steps, self.config.batch
        unused = torch.Generator().manual_seed(0)  # the steps' noise has size 0
        parts = [
            denoise(self.policy, asked[first : first + batch], start[first : first + batch], steps, unused)
            for first in range(0, len(asked), batch)
        ]
        return torch.cat(parts).cpu().unflatten(0, (len(prompts), -1))

    def pictures(self, latent: Float[Tensor, "... k h w"]) -> Pictures:
        """Of any number of leading axes, in their order."""
        flat = latent.reshape(-1, *latent.shape[-3:]).to(self.policy.device)
        return [picture for part in flat.split(self.config.batch) for picture in self.policy.decode(part)]

    @property
    def _steps(self) -> Steps:
        if self.policy.kind == "diffusion":
            return ddim_steps(scaled_linear(), leading(self.config.steps), eta=0.0)
        return euler_steps(shifted_grid(self.config.steps, self.config.shift))
