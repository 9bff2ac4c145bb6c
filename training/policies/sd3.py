"""Stable Diffusion 3 and 3.5: a transformer of joint attention that predicts the velocity of flow matching.

Dimension key   B pictures, K H W latents, L tokens, E width of the words
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from training.policies.architecture import JOINT_ATTENTION, Told, scale_px
from training.policies.policy import Kind

TIME_SCALE = 1000.0  # the network counts times from 0 to 1000


@dataclass(frozen=True, slots=True)
class StableDiffusion3:
    """The law is `training.policies.architecture.Architecture`."""

    kind: Kind = "flow"
    lora_targets: tuple[str, ...] = JOINT_ATTENTION

    def latent_KHW(self, pipeline: Any, side_px: int) -> tuple[int, int, int]:  # noqa: ANN401
        side = side_px // scale_px(pipeline)
        return (pipeline.transformer.config.in_channels, side, side)

    def tell(self, pipeline: Any, prompt: str, device: Any) -> Told:  # noqa: ANN401
        token_1LE, _, pooled_1E, _ = pipeline.encode_prompt(
            prompt, None, None, device=device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": token_1LE, "pooled_projections": pooled_1E}

    def tell_nothing(self, pipeline: Any, device: Any) -> Told:  # noqa: ANN401
        return self.tell(pipeline, "", device)

    def predict(
        self,
        network: Any,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: Told,
    ) -> Float[Tensor, "b k h w"]:
        v_BKHW: Tensor = network(hidden_states=x_BKHW, timestep=TIME_SCALE * t_B, **told, return_dict=False)[
            0
        ]
        return v_BKHW
