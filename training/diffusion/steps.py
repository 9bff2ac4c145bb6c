"""A stochastic sampler as a table: every step is linear in what the network predicts.

    x' = a x + b f(x, t) + s z,     z ~ N(0, 1)

DDIM with η and the SDEs of flow matching all have this form; they differ in the numbers. Two policies that
see the same x and z therefore differ in the mean by b (f_θ − f_old), which in units of the noise is

    w = −b / s,     log π_θ(x'|x) − log π_old(x'|x) = −[ w ⟨d, z⟩ + ½ w² ‖d‖² ],     d = f_θ − f_old

w is what a step weighs in a policy gradient (Lee and Ye, arXiv:2509.25774, propositions 1 and 2).

Dimension key   T steps, B pictures, K H W latents
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from training.policies.policy import Kind

Table = Float64[Tensor, " t"]


@dataclass(frozen=True, slots=True)
class Steps:
    """One row a step, first step first. `time_T` is what the network is told.

    `sigma_T` is the noise level σ of the method's own notation: σ_t of DDIM, where s = σ, or that of the SDE,
    where s = σ √Δt. `dt_T` are the steps' lengths in time, which add up to 1; None for a diffusion.
    `blend_T`, where there is one, says how much of the change against the base model is sampled with: the
    prediction in a step is f_base + blend (f − f_base).
    """

    kind: Kind
    time_T: Table
    a_T: Table
    b_T: Table
    s_T: Table
    sigma_T: Table
    dt_T: Table | None = None
    blend_T: Table | None = None

    def __len__(self) -> int:
        return len(self.time_T)

    @property
    def weight_T(self) -> Table:
        """The weight w = −b / s of each step, infinite where no noise is added."""
        return -self.b_T / self.s_T

    def mean(
        self, step: int | Tensor, x: Float[Tensor, "b k h w"], prediction: Float[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w"]:
        """The mean a x + b f in float32; `step` is one number, or one for each picture."""
        return self._row(self.a_T, step, x) * x + self._row(self.b_T, step, x) * prediction

    def std(self, step: int | Tensor, like: Tensor) -> Tensor:
        """s, of a shape that multiplies `like`."""
        return self._row(self.s_T, step, like)

    @staticmethod
    def _row(table_T: Table, step: int | Tensor, like: Tensor) -> Tensor:
        if isinstance(step, int):
            return table_T[step].to(like.device, torch.float32)
        return table_T.to(like.device, torch.float32)[step].view(-1, 1, 1, 1)


def logp_mean_B(
    x_BKHW: Float[Tensor, "b k h w"], mean_BKHW: Float[Tensor, "b k h w"], std: Tensor
) -> Float[Tensor, " b"]:
    """Log-density of N(mean, std²), as a mean over the latent elements, in float32.

    A sum is thousands of times larger: the clip ranges that papers state (1e-4) are for the mean.
    """
    z_BKHW = (x_BKHW - mean_BKHW) / std
    return (-0.5 * z_BKHW.square() - std.log() - 0.5 * math.log(2 * math.pi)).flatten(1).mean(1)
