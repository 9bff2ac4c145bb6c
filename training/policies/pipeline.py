"""A published diffusers pipeline as a policy: frozen text encoders and autoencoder, a network to train.

    predict:  x_t, t ─► [plain rows | told rows] ─► network, autocast ─► p_0 + g (p_1 − p_0), float32

Dimension key   B pictures, K H W latents
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from indexer.errors import InvalidInputError
from training.policies.architecture import Architecture, Told, scale_px
from training.policies.policy import Conditioning, Kind

MOST_REMEMBERED = 2_048  # prompts; of FLUX.1 each takes 4 MB of main memory
DENOISERS = ("unet", "transformer")


@dataclass(frozen=True, slots=True)
class Running:
    """Where and how the parts of a pipeline work.

    `autocast` None calculates in the dtype of the weights. With `rests`, text encoders and autoencoder are on
    the device only while they work. `guidance` up to 1 predicts once, as told.
    """

    device: torch.device
    autocast: torch.dtype | None
    guidance: float
    rests: bool
    checkpointing: bool


class PipelinePolicy:
    """The law is `training.policies.policy.Policy`.

    The network stays in evaluation mode, so that nothing is dropped at random: the ratio of a first
    minibatch is 1.
    """

    def __init__(
        self,
        pipeline: Any,
        architecture: Architecture,
        model_id: str,
        side_px: int,
        running: Running,
    ) -> None:
        self._pipeline = pipeline
        self._architecture = architecture
        self._running = running
        self._remembered: OrderedDict[str, Told] = OrderedDict()
        self._plain: Told | None = None
        self.model_id = model_id
        self.latent_KHW = architecture.latent_KHW(pipeline, side_px)
        _check_side(self.latent_KHW, side_px, scale_px(pipeline))
        self.denoiser = next(name for name in DENOISERS if name in pipeline.components)
        self._texts = [
            part
            for name, part in pipeline.components.items()
            if name.startswith("text_encoder") and part is not None
        ]
        for part in (self.network, pipeline.vae, *self._texts):
            part.requires_grad_(False).eval()
        for part in (pipeline.vae, *self._texts):
            part.to("cpu" if running.rests else running.device)
        self.network.to(running.device)
        pipeline.vae.enable_slicing()  # one picture at a time
        if running.checkpointing:
            pipeline.components[self.denoiser].enable_gradient_checkpointing()

    @property
    def kind(self) -> Kind:
        return self._architecture.kind

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """What the papers' runs adapt in this family."""
        return self._architecture.lora_targets

    @property
    def device(self) -> torch.device:
        return self._running.device

    @property
    def network(self) -> torch.nn.Module:
        network: torch.nn.Module = self._pipeline.components[self.denoiser]
        return network

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Each prompt is read once and alone, so that its rows do not depend on those beside it."""
        mixes = self._running.guidance > 1
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._remembered]
        if missing or (mixes and self._plain is None):
            with torch.no_grad(), self._at_work(*self._texts):
                if mixes and self._plain is None:
                    self._plain = _on_cpu(self._architecture.tell_nothing(self._pipeline, self.device))
                read = {prompt: self._read(prompt) for prompt in missing}
        else:
            read = {}
        self._remembered.update(read)
        rows = [self._remembered[prompt] for prompt in prompts]
        for prompt in prompts:
            self._remembered.move_to_end(prompt)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        plain = self._plain or {}
        return Conditioning(
            {name: torch.cat([row[name] for row in rows]).to(self.device) for name in rows[0]},
            {name: torch.cat([row] * len(prompts)).to(self.device) for name, row in plain.items()},
        )

    def predict(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], known: Conditioning
    ) -> Float[Tensor, "b k h w"]:
        if not known.plain:
            return self._ask(x_BKHW, t_B, known.told)
        both = {name: torch.cat([known.plain[name], told]) for name, told in known.told.items()}
        plain_BKHW, told_BKHW = self._ask(torch.cat([x_BKHW, x_BKHW]), torch.cat([t_B, t_B]), both).chunk(2)
        return plain_BKHW + self._running.guidance * (told_BKHW - plain_BKHW)

    @torch.no_grad()
    def decode(self, x_BKHW: Float[Tensor, "b k h w"]) -> list[UInt8[ndarray, "s s 3"]]:
        autoencoder = self._pipeline.vae
        config = autoencoder.config
        with self._at_work(autoencoder):
            latent_BKHW = x_BKHW.to(self.device) / config.scaling_factor + (config.shift_factor or 0.0)
            picture_B3HW = autoencoder.decode(latent_BKHW.to(autoencoder.dtype), return_dict=False)[0]
        colour_BHW3 = (picture_B3HW.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return list(np.rint(colour_BHW3 * 255).astype(np.uint8))

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return ((name, weight) for name, weight in self.network.named_parameters() if weight.requires_grad)

    def _ask(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], told: Told
    ) -> Float[Tensor, "b k h w"]:
        autocast = self._running.autocast
        with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
            return self._architecture.predict(self.network, x_BKHW, t_B, told).float()

    def _read(self, prompt: str) -> Told:
        return _on_cpu(self._architecture.tell(self._pipeline, prompt, self.device))

    @contextmanager
    def _at_work(self, *parts: torch.nn.Module) -> Iterator[None]:
        if not self._running.rests:
            yield
            return
        for part in parts:
            part.to(self.device)
        try:
            yield
        finally:
            for part in parts:
                part.to("cpu")


def _on_cpu(told: Told) -> Told:
    return {name: tensor.cpu() for name, tensor in told.items()}


def _check_side(latent_KHW: tuple[int, ...], side_px: int, scale: int) -> None:
    """Two latents are the least that every family divides by."""
    if side_px <= 0 or side_px % (2 * scale) != 0 or min(latent_KHW) < 1:
        raise InvalidInputError(f"side_px is {side_px}: expected a multiple of {2 * scale}")
