"""What differs between the families of published models; the rest is `training.policies.pipeline`.

Dimension key   B pictures, K H W latents
"""

from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from training.policies.policy import Kind

# The projections of attention over the picture: what DDPO's and PCPO's runs adapt.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# Joint attention has projections of the words beside them: what Flow-GRPO's runs adapt.
JOINT_ATTENTION = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
)

Told = dict[str, Tensor]  # what a network is told of prompts, by name; the first axis is the prompt


class Architecture(Protocol):
    """`pipeline` and `network` are diffusers' own, which is untyped.

    `predict` returns what samplers expect of `kind`, in the network's dtype, before any guidance is mixed in.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Endings of the names of the layers that an adapter is put into."""

    def latent_KHW(self, pipeline: Any, side_px: int) -> tuple[int, int, int]: ...  # noqa: ANN401

    def tell(self, pipeline: Any, prompt: str, device: Any) -> Told:  # noqa: ANN401
        """One row. Called without gradients, the text encoders on `device`."""

    def tell_nothing(self, pipeline: Any, device: Any) -> Told:  # noqa: ANN401
        """What the model's guidance starts from; empty where nothing is predicted a second time."""

    def predict(
        self,
        network: Any,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: Told,
    ) -> Float[Tensor, "b k h w"]: ...


def scale_px(pipeline: Any) -> int:  # noqa: ANN401
    """Pixels across one latent."""
    return int(2 ** (len(pipeline.vae.config.block_out_channels) - 1))
