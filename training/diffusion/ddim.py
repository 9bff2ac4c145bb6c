"""DDIM with stochasticity η (Song et al., arXiv:2010.02502, equations 12 and 16) as a table of steps.

    x̂_0 = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t
    x'  = √ᾱ' x̂_0 + √(1 − ᾱ' − σ²) ε + σ z,      σ² = η² (1−ᾱ')/(1−ᾱ_t) (1 − ᾱ_t/ᾱ')

With α = ᾱ_t / ᾱ': a = 1/√α, b = −C, C = √(1−ᾱ_t)/√α − √(1−ᾱ'−σ²), so w = C / σ.

Symbols   ᾱ_t → abar, ᾱ' → abar_next (the timestep that is sampled next), C → c
Numbers   float64.

Dimension key   T steps, S training timesteps
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from indexer.errors import InvalidInputError
from training.diffusion.steps import Steps


def scaled_linear(start: float = 8.5e-4, end: float = 1.2e-2, timesteps: int = 1000) -> Float64[Tensor, " s"]:
    """ᾱ of Stable Diffusion: the square roots of β rise evenly."""
    beta_S = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return (1 - beta_S).cumprod(0)


def leading(n_steps: int, *, timesteps: int = 1000, offset: int = 1) -> Int64[Tensor, " t"]:
    """Timesteps at even distances, the largest first: `timestep_spacing="leading"` of diffusers.

    Raises InvalidInputError: more steps than timesteps, or none.
    """
    if not 1 <= n_steps <= timesteps:
        raise InvalidInputError(f"{n_steps} steps: expected 1 to {timesteps}")
    return torch.arange(n_steps - 1, -1, -1) * (timesteps // n_steps) + offset


def ddim_steps(abar_S: Float64[Tensor, " s"], time_T: Int64[Tensor, " t"], eta: float = 1.0) -> Steps:
    """The table with the native σ. After the last timestep comes ᾱ_0, as in published pipelines."""
    abar_T, abar_next_T = _around(abar_S, time_T)
    sigma_T = eta * ((1 - abar_next_T) / (1 - abar_T) * (1 - abar_T / abar_next_T)).sqrt()
    return with_sigma(abar_S, time_T, sigma_T)


def with_sigma(
    abar_S: Float64[Tensor, " s"], time_T: Int64[Tensor, " t"], sigma_T: Float64[Tensor, " t"]
) -> Steps:
    """The table with any σ ≤ √(1 − ᾱ'): the marginals of x stay the same."""
    abar_T, abar_next_T = _around(abar_S, time_T)
    alpha_T = abar_T / abar_next_T
    c_T = ((1 - abar_T) / alpha_T).sqrt() - (1 - abar_next_T - sigma_T**2).clamp_min(0).sqrt()
    return Steps("diffusion", time_T.double(), alpha_T.rsqrt(), -c_T, sigma_T, sigma_T)


def uniform_sigma(
    abar_S: Float64[Tensor, " s"], time_T: Int64[Tensor, " t"], weight: float = 4.5, eta: float = 1.0
) -> Float64[Tensor, " t"]:
    """σ of PCPO's authors' sampler: the larger root of (1+w²) σ² − 2 c w σ + c² − B = 0, times η.

    With c = √((1−ᾱ_t)/α) and B = 1 − ᾱ'. The larger root belongs to a mean whose square root has the other
    sign, so DDIM's true weight at this σ stays close to the native one: `training.objectives.pcpo`.

    Raises InvalidInputError: at some step there is no real root.
    """
    abar_T, abar_next_T = _around(abar_S, time_T)
    c_T = ((1 - abar_T) * abar_next_T / abar_T).sqrt()
    inner_T = (1 - abar_next_T) * (1 + weight**2) - c_T**2
    if bool((inner_T < 0).any()):
        step = int((inner_T < 0).nonzero()[0])
        raise InvalidInputError(
            f"no σ gives step {step} of {len(time_T)} a weight of {weight}: expected more steps"
        )
    return eta * (weight * c_T + inner_T.sqrt()) / (1 + weight**2)


def _around(
    abar_S: Float64[Tensor, " s"], time_T: Int64[Tensor, " t"]
) -> tuple[Float64[Tensor, " t"], Float64[Tensor, " t"]]:
    """(ᾱ_t, ᾱ'): at each step and at the one after it."""
    stride = len(abar_S) // len(time_T)
    return abar_S[time_T], abar_S[(time_T - stride).clamp_min(0)]
