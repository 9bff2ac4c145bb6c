"""PPO's clipped surrogate over denoising steps: DDPO's objective, and that which the others start from.

    L = E max( −ρ A, −clip(ρ, 1 − ξ, 1 + ξ) A ),     ρ = π_θ(x'|x, c) / π_old(x'|x, c)

Symbols     log ρ → log_ratio_B, A → adv_B, ξ → clip_eps
Papers      Schulman et al., arXiv:1707.06347 (L^CLIP); Black et al., DDPO, arXiv:2305.13301 (one step of
            denoising is one action; every step of a picture has the picture's advantage)
Departures  log ρ is a mean over latent elements, as in DDPO's code: ξ = 1e-4 is meant for that.

Dimension key   B rows, each one step of one picture
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def clipped_surrogate(
    log_ratio_B: Float[Tensor, " b"], adv_B: Float[Tensor, " b"], clip_eps: float
) -> Float[Tensor, " b"]:
    """The loss of each row, to be averaged. At ρ = 1 its gradient in log ρ is −A."""
    ratio_B = log_ratio_B.exp()  # ρ
    clipped_B = ratio_B.clamp(1 - clip_eps, 1 + clip_eps)  # clip(ρ)
    return torch.maximum(-ratio_B * adv_B, -clipped_B * adv_B)


def is_clipped(
    log_ratio_B: Float[Tensor, " b"], adv_B: Float[Tensor, " b"], clip_eps: float
) -> Bool[Tensor, " b"]:
    """Rows that send no gradient: ρ has passed the border on the side where A pulls it."""
    ratio_B = log_ratio_B.exp()
    return ((adv_B > 0) & (ratio_B > 1 + clip_eps)) | ((adv_B < 0) & (ratio_B < 1 - clip_eps))
