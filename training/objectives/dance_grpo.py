"""DanceGRPO: PPO's clipped surrogate on flow matching and diffusion, on a random part of the steps.

The loss is `ppo_clip.clipped_surrogate`, the sampler `diffusion.flow_sde.dance_grpo_steps` or DDIM, the
advantage `advantages.group`; the pictures of one prompt may begin with the same noise.

Paper       Xue et al., DanceGRPO, arXiv:2505.07818
Departures  Which steps are trained is drawn again each epoch and is the same for all of its pictures.
"""

import torch
from jaxtyping import Int64
from torch import Tensor


def some_steps(last: int, share: float, rng: torch.Generator) -> Int64[Tensor, " s"]:
    """A random `share` of the steps 0 … last − 1, in order, at least one.

    The paper's FLUX recipe leaves out the last step and trains on 0.6 of the rest, that for Stable Diffusion
    on all.
    """
    count = max(1, int(share * last))
    return torch.randperm(last, generator=rng)[:count].sort().values
