"""FLUX.1: a transformer that predicts the velocity of flow matching, told how strong its guidance is.

Guidance is distilled into the weights: one prediction a step. Four latents are one token inside;
at the border latents are [K, H, W], as everywhere.

Dimension key   B pictures, K H W latents, L tokens of the picture or of the prompt, P = 4K width of a token
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from training.policies.architecture import TextEmbedding, latent_side
from training.policies.policy import Kind


@dataclass(frozen=True, slots=True)
class Flux:
    """The law is `training.policies.architecture.Architecture`.

    `guidance` is what the network is told; None for one that is told none (FLUX.1 [schnell]).
    """

    latent_KHW: tuple[int, int, int]
    guidance: float | None
    kind: Kind = "flow"
    part: str = "transformer"
    takes_guidance: bool = False

    @classmethod
    def of(cls, pipeline: Any, side_px: int, guidance: float) -> "Flux":  # noqa: ANN401
        """Raises InvalidInputError: a side that tokens do not fill."""
        config = pipeline.transformer.config
        side = latent_side(pipeline, side_px, patch=2)
        return cls((config.in_channels // 4, side, side), guidance if config.guidance_embeds else None)

    def text_embedding(self, pipeline: Any, prompt: str, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        token_1LE, pooled_1E, _ = pipeline.encode_prompt(prompt, device=device)
        return {"encoder_hidden_states": token_1LE, "pooled_projections": pooled_1E}

    def unconditional_embedding(self, _pipeline: Any, _device: torch.device) -> TextEmbedding:  # noqa: ANN401
        return {}

    def predict(
        self,
        network: torch.nn.Module,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: TextEmbedding,
    ) -> Float[Tensor, "b k h w"]:
        height, width = x_BKHW.shape[-2:]
        n_words = told["encoder_hidden_states"].shape[1]
        v_BLP = network(
            hidden_states=packed(x_BKHW),
            timestep=t_B,  # the network multiplies by 1000 itself
            guidance=None if self.guidance is None else torch.full_like(t_B, self.guidance),
            img_ids=_places(height // 2, width // 2, x_BKHW.device),
            txt_ids=torch.zeros(n_words, 3, device=x_BKHW.device),
            **told,
            return_dict=False,
        )[0]
        return unpacked(v_BLP, height, width)


def packed(x_BKHW: Float[Tensor, "b k h w"]) -> Float[Tensor, "b l p"]:
    """A square of four latents is one token, its channels the outer axis."""
    batch, channels, height, width = x_BKHW.shape
    squares = x_BKHW.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(batch, height * width // 4, 4 * channels)


def unpacked(x_BLP: Float[Tensor, "b l p"], height: int, width: int) -> Float[Tensor, "b k h w"]:
    """The inverse of `packed`."""
    batch, _, size = x_BLP.shape
    squares = x_BLP.reshape(batch, height // 2, width // 2, size // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(batch, size // 4, height, width)


def _places(height: int, width: int, device: torch.device) -> Float[Tensor, "l 3"]:
    """Of each token: 0, its row, its column."""
    row_HW, column_HW = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([torch.zeros_like(row_HW), row_HW, column_HW], dim=-1).reshape(-1, 3).float()
