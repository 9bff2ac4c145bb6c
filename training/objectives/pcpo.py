"""PCPO: Proportionate Credit Policy Optimization (Lee and Ye, arXiv:2509.25774).

Policy gradients through a sampler give step t the factor w(t) = −b / s of `diffusion.steps`, which depends on
the schedule and not on what the step contributes. PCPO evaluates the ratio in closed form, replaces PPO's
clip by a hinge on its logarithm, and makes the weight proportionate.

    log ρ = −[ w ⟨d, z⟩ + ½ w² ‖d‖² ],     d = f_θ − f_old                       propositions 1 and 2
    L     = E max( 0, ξ |A| − A log ρ )                                          the log-hinge
    diffusion   w(t) = w*, the same at every step
    flow        w(t) = ζ Δt,     ζ = Σ w over the whole grid, so that Σ ζ Δt = Σ w, since Σ Δt = 1

Symbols     d → change_BKHW, z → noise_BKHW, w → weight_B, log ρ → log_ratio_B, A → adv_B, ξ → clip_eps
Modes       `constant`: w* = the mean native weight, in the loss only; the sampler stays native.
            `uniform-sigma`: the authors' sampler (`ddim.uniform_sigma`) with that constant in the loss.
            `uniform-lambda`: the sampler blends the change against the base model so that its true weight
            is w* (`lambda_T`). `proportionate`: ζ Δt.
Departures  1. ⟨d, z⟩ and ‖d‖² are means over latent elements, as in the authors' code, not sums.
            2. `uniform-sigma` takes the larger root, as the authors' code does. It solves
               w* = (c + √(B − σ²)) / σ, where DDIM's mean has c − √(B − σ²): on Stable Diffusion's 50 steps
               the sampler's true weight stays 0.39 to 3.37, close to the native 0.37 to 3.27. What becomes
               uniform is the weight in the loss. The smaller root has σ of 0.003 to 0.03, which is hardly
               a random sampler any more. `uniform-lambda` is exact.
            3. ζ is computed on the grid that is sampled, never quoted. Where steps are left out of
               training, it stays that of the whole grid.

Dimension key   B rows, each one step of one picture; T steps; K H W latents
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from indexer.errors import InvalidInputError
from training.diffusion.steps import Steps, Table


def log_ratio(
    change_BKHW: Float[Tensor, "b k h w"], noise_BKHW: Float[Tensor, "b k h w"], weight_B: Float[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Propositions 1 and 2, without the cancellation of a difference of log-densities.

    With w the native weight this is the exact log-ratio (as a mean over elements); with another it is the
    objective's own.
    """
    scaled_BKHW = weight_B[:, None, None, None] * change_BKHW  # w d
    return -(scaled_BKHW * noise_BKHW + 0.5 * scaled_BKHW.square()).flatten(1).mean(1)


def log_hinge(
    log_ratio_B: Float[Tensor, " b"], adv_B: Float[Tensor, " b"], clip_eps: float
) -> Float[Tensor, " b"]:
    """The loss of each row, to be averaged. At log ρ = 0 it is ξ |A| and its gradient in log ρ is −A."""
    return (clip_eps * adv_B.abs() - adv_B * log_ratio_B).clamp_min(0)


def is_clipped(
    log_ratio_B: Float[Tensor, " b"], adv_B: Float[Tensor, " b"], clip_eps: float
) -> Bool[Tensor, " b"]:
    """Rows that send no gradient: what PPO calls clipped."""
    return clip_eps * adv_B.abs() - adv_B * log_ratio_B < 0


def constant_weight(steps: Steps) -> Table:
    """The mean native weight at every step: the total stays, the shares become equal.

    Steps without noise have no weight and are not counted.
    """
    return torch.full_like(steps.weight_T, float(_finite(steps.weight_T).mean()))


def proportionate_weight(steps: Steps) -> Table:
    """ζ Δt: a step's share is its share of the time.

    Steps without noise have no weight in ζ.

    Raises InvalidInputError: a diffusion, whose steps have no length.
    """
    if steps.dt_T is None:
        raise InvalidInputError(
            "proportionate weights need a flow: expected constant, uniform-sigma or -lambda"
        )
    return _finite(steps.weight_T).sum() * steps.dt_T


def lambda_T(steps: Steps) -> Table:
    """How much of the change is sampled with, so that each step's true weight is the mean: λ = w* / w."""
    return constant_weight(steps) / steps.weight_T


def _finite(weight_T: Table) -> Tensor:
    return weight_T[weight_T.isfinite()]
