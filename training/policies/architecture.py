"""What differs between the families of published models; the rest is `training.policies.pipeline`.

Dimension key   B pictures, K H W latents
"""

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from indexer.errors import InvalidInputError
from training.policies.policy import Kind

TextEmbedding = dict[str, Tensor]  # what a network is told of prompts, by name; the first axis is the prompt


class Architecture(Protocol):
    """`pipeline` is diffusers' own, which is untyped.

    Embeddings are made without gradients, the text encoders on `device`; each is one row.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def part(self) -> str:
        """The network's name in its pipeline."""

    @property
    def latent_KHW(self) -> tuple[int, int, int]: ...

    @property
    def takes_guidance(self) -> bool:
        """A second prediction, told nothing, is mixed in where guidance is above 1."""

    def text_embedding(self, pipeline: Any, prompt: str, device: torch.device) -> TextEmbedding: ...  # noqa: ANN401

    def unconditional_embedding(self, pipeline: Any, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        """What the second prediction is given in place of a prompt."""

    def predict(
        self,
        network: torch.nn.Module,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: TextEmbedding,
    ) -> Float[Tensor, "b k h w"]:
        """What samplers expect of `kind`; no guidance is mixed in."""


def latent_side(pipeline: Any, side_px: int, patch: int) -> int:  # noqa: ANN401
    """Latents across a picture. Raises InvalidInputError: they make no whole patches."""
    scale = int(2 ** (len(pipeline.vae.config.block_out_channels) - 1))
    if side_px < 1 or side_px % (scale * patch):
        raise InvalidInputError(f"side_px is {side_px}: expected a multiple of {scale * patch}")
    return side_px // scale
