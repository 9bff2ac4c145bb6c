"""A flow-matching policy, seen as a variance-preserving diffusion: an exact change of variables.

    flow        y_t = (1 − t) x_0 + t n,                 v = n − x_0
    diffusion   x_s = √ᾱ_s x_0 + √(1 − ᾱ_s) n,           ε = n

Both mix the same two things, so with t = √(1 − ᾱ) / (√ᾱ + √(1 − ᾱ)) they differ by a factor:
y_t = x_s / (√ᾱ + √(1 − ᾱ)), and ε = y_t + (1 − t) v. One trained network can therefore be sampled, and
fine-tuned, both ways, and DDIM's algorithms are compared with flow matching's from the same weights.

Dimension key   B pictures, S training timesteps, K H W latents
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, UInt8
from numpy import ndarray
from torch import Tensor

from indexer.errors import InvalidInputError
from training.policies.policy import Conditioning, Kind, Policy


@dataclass(frozen=True)
class AsDiffusion:
    """Implements `training.policies.policy.Policy`; `flow` is the policy seen so."""

    flow: Policy
    abar_S: Float64[Tensor, " s"]
    kind: Kind = "diffusion"

    def __post_init__(self) -> None:
        if self.flow.kind != "flow":
            raise InvalidInputError(
                f"{self.flow.model_id} is a {self.flow.kind} model already: expected a flow"
            )

    @property
    def model_id(self) -> str:
        return self.flow.model_id

    @property
    def latent_KHW(self) -> tuple[int, ...]:
        return self.flow.latent_KHW

    @property
    def device(self) -> torch.device:
        return self.flow.device

    @property
    def network(self) -> torch.nn.Module:
        return self.flow.network

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        return self.flow.encode(prompts)

    def predict(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], known: Conditioning
    ) -> Float[Tensor, "b k h w"]:
        abar_B = self.abar_S[t_B.long().cpu()].to(t_B.device)
        size_B = abar_B.sqrt() + (1 - abar_B).sqrt()
        time_B = ((1 - abar_B).sqrt() / size_B).float()
        y_BKHW = x_BKHW / size_B.float()[:, None, None, None]
        v_BKHW = self.flow.predict(y_BKHW, time_B, known)
        return y_BKHW + (1 - time_B)[:, None, None, None] * v_BKHW

    def decode(self, x_BKHW: Float[Tensor, "b k h w"]) -> list[UInt8[ndarray, "s s 3"]]:
        """At the end ᾱ is not quite 1 in published schedules: the factor is left out, as diffusers does."""
        return self.flow.decode(x_BKHW)

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return self.flow.trainable()
