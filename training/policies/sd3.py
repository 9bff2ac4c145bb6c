"""Stable Diffusion 3 and 3.5: a transformer of joint attention that predicts the velocity of flow matching.

Dimension key   B pictures, K H W latents, L tokens, E width of the words
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from indexer.errors import InvalidInputError
from training.policies.architecture import TextEmbedding, latent_side
from training.policies.policy import Kind

TIME_SCALE = 1000.0  # the network counts times from 0 to 1000


@dataclass(frozen=True, slots=True)
class StableDiffusion3:
    """The law is `training.policies.architecture.Architecture`."""

    latent_KHW: tuple[int, int, int]
    kind: Kind = "flow"
    part: str = "transformer"
    takes_guidance: bool = True

    @classmethod
    def of(cls, pipeline: Any, side_px: int) -> "StableDiffusion3":  # noqa: ANN401
        """Raises InvalidInputError: a side that the network has no places for."""
        config = pipeline.transformer.config
        side = latent_side(pipeline, side_px, config.patch_size)
        most = config.pos_embed_max_size * config.patch_size
        if side > most:
            raise InvalidInputError(f"side_px is {side_px}: expected at most {most * side_px // side}")
        return cls((config.in_channels, side, side))

    def text_embedding(self, pipeline: Any, prompt: str, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        token_1LE, _, pooled_1E, _ = pipeline.encode_prompt(
            prompt, None, None, device=device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": token_1LE, "pooled_projections": pooled_1E}

    def unconditional_embedding(self, pipeline: Any, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        return self.text_embedding(pipeline, "", device)

    def predict(
        self,
        network: torch.nn.Module,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: TextEmbedding,
    ) -> Float[Tensor, "b k h w"]:
        v_BKHW: Tensor = network(x_BKHW, timestep=TIME_SCALE * t_B, **told, return_dict=False)[0]
        return v_BKHW
