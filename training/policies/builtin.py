"""The builtin generator as a policy: flow matching on 64 x 64 pixels, small enough to train on a CPU.

Dimension key   B pictures, K H W latents
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rerank.generate.builtin.folder import load_pipeline
from rerank.generate.builtin.generator import FOLDER
from rerank.generate.builtin.latents import to_bytes
from training.policies.adapters import attach, trainable
from training.policies.options import Adapter
from training.policies.policy import Conditioning, Kind


class BuiltinPolicy:
    """The law is `training.policies.policy.Policy`."""

    kind: Kind = "flow"
    part = "unet"

    def __init__(
        self,
        folder: Path = FOLDER,
        *,
        adapter: Adapter | None = None,
        guidance: float = 1.0,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        """`adapter` None freezes everything: to draw with. `seed` draws the adapter's first weights."""
        self._pipeline = load_pipeline(folder)
        self._pipeline.unet.to(device=device, memory_format=torch.channels_last)
        self._pipeline.unet.requires_grad_(False).eval()
        if adapter is not None:
            attach(self._pipeline.unet, adapter, seed)
        self._guidance = guidance
        self.adapter = adapter

    @property
    def model_id(self) -> str:
        return str(self._pipeline.config.name)

    @property
    def latent_KHW(self) -> tuple[int, ...]:
        form = self._pipeline.unet.config
        return (form.in_channels, form.sample_size, form.sample_size)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def network(self) -> torch.nn.Module:
        return self._pipeline.unet

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        token, pooled = self._pipeline.encode_prompts(prompts)
        told = {"token": token, "pooled": pooled}
        if self._guidance == 1:
            return Conditioning(told, {})
        token, pooled = self._pipeline.encode_prompts([""])
        rows = len(prompts)
        plain = {"token": token.expand(rows, -1, -1), "pooled": pooled.expand(rows, -1)}
        return Conditioning(told, plain)

    def predict(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], known: Conditioning
    ) -> Float[Tensor, "b k h w"]:
        if not known.plain:
            return self._velocity(x_BKHW, t_B, known.told)
        both = {name: torch.cat([known.plain[name], known.told[name]]) for name in known.told}
        plain, told = self._velocity(torch.cat([x_BKHW, x_BKHW]), torch.cat([t_B, t_B]), both).chunk(2)
        return plain + self._guidance * (told - plain)

    @torch.no_grad()
    def decode(self, x_BKHW: Float[Tensor, "b k h w"]) -> list[UInt8[ndarray, "s s 3"]]:
        return list(to_bytes(self._pipeline.vae.codec().decode(np.asarray(x_BKHW.float().cpu()))))

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return trainable(self.network)

    def _velocity(self, x_BKHW: Tensor, t_B: Tensor, told: dict[str, Tensor]) -> Tensor:
        with _attention(x_BKHW.device):
            return self._pipeline.velocity(x_BKHW, t_B, told["token"], told["pooled"])


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the fused kernel's backward pass is slower than written-out attention at this size."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
