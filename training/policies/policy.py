"""What a trainer needs of a text-to-image model: predictions that gradients flow through.

    prompts ─► encode ─► Conditioning ─┐
    x_t, t ────────────────────────────┴─► predict ─► ε or v ─► a sampler's step ─► … ─► decode

Dimension key   B pictures, P prompts, K H W latents
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

Kind = Literal["diffusion", "flow"]


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the network is told of each prompt: named tensors whose first axis is the prompt.

    `plain` is the same of the empty prompt, one row for each; empty where no guidance is mixed in.
    """

    told: dict[str, Tensor]
    plain: dict[str, Tensor]

    def rows(self, index_B: Tensor) -> "Conditioning":
        """Those of the pictures that were asked for by these prompts."""
        return Conditioning(
            {name: tensor[index_B] for name, tensor in self.told.items()},
            {name: tensor[index_B] for name, tensor in self.plain.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence["Conditioning"]) -> "Conditioning":
        told, plain = (
            {
                name: torch.cat([getattr(part, side)[name] for part in parts])
                for name in getattr(parts[0], side)
            }
            for side in ("told", "plain")
        )
        return cls(told, plain)


class Policy(Protocol):
    """A denoising network with its text encoder and its decoder.

    `kind` says what `predict` returns: the noise ε of a variance-preserving diffusion, told integer
    timesteps, or the velocity v = dx/dt of flow matching, told t in (0, 1]. Only `network` is trained.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def model_id(self) -> str:
        """Name and identity of the weights that training starts from."""

    @property
    def latent_KHW(self) -> tuple[int, ...]:
        """The shape of one picture's latents, as samplers see them."""

    @property
    def device(self) -> torch.device: ...

    @property
    def network(self) -> torch.nn.Module:
        """What is trained, adapters included."""

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """On `device`; without gradients."""

    def predict(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], known: Conditioning
    ) -> Float[Tensor, "b k h w"]:
        """ε or v in float32, the guidance of this policy applied; differentiable in `network`'s weights.

        Rows do not influence each other, and the same rows give the same numbers: no dropout.
        """

    def decode(self, x_BKHW: Float[Tensor, "b k h w"]) -> list[UInt8[ndarray, "s s 3"]]:
        """[S, S, 3] uint8 sRGB pictures of clean latents; without gradients."""

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        """Named weights that an optimiser changes, in a fixed order."""
