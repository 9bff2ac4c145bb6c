"""A published diffusers pipeline as a policy: frozen text encoders and autoencoder, a network to train.

    predict:  x_t, t ─► [plain rows | told rows] ─► network, autocast ─► p_0 + g (p_1 − p_0), float32

Dimension key   B pictures, K H W latents, S training timesteps
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from indexer.lru import Lru
from training.policies.adapters import attach, trainable
from training.policies.architecture import Architecture, TextEmbedding
from training.policies.options import Adapter, PolicyOptions
from training.policies.policy import Conditioning, Kind

MOST_REMEMBERED = 2_048  # prompts; of FLUX.1 each takes 4 MB of main memory
NOTHING = None  # in place of a prompt: what guidance starts from


class PipelinePolicy:
    """The law is `training.policies.policy.Policy`.

    The network stays in evaluation mode, so that nothing is dropped at random. Trained weights are float32,
    whatever the others are: a step of 1e-5 would vanish in bfloat16.
    """

    def __init__(
        self,
        pipeline: Any,  # noqa: ANN401  # diffusers is untyped
        architecture: Architecture,
        model_id: str,
        device: torch.device,
        options: PolicyOptions,
        *,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """`adapter` None freezes everything: to draw with. `seed` draws the adapter's first weights.

        Guidance is mixed in above 1; an architecture that is told its guidance mixes none in.
        """
        self._pipeline = pipeline
        self._architecture = architecture
        self._options = options
        self._autocast = None if options.precision == "float32" else getattr(torch, options.precision)
        self._told: Lru[str | None, TextEmbedding] = Lru(MOST_REMEMBERED)
        self._texts = [
            part
            for name, part in pipeline.components.items()
            if name.startswith("text_encoder") and part is not None
        ]
        self.model_id = model_id
        self.device = device
        self.adapter = adapter
        for part in (self.network, pipeline.vae, *self._texts):
            part.requires_grad_(False).eval()
        for part in (pipeline.vae, *self._texts):
            part.to("cpu" if options.rests else device)
        network = pipeline.components[self.part]
        network.to(device)
        if options.checkpointing:
            network.enable_gradient_checkpointing()
        if adapter is not None:
            attach(network, adapter, seed)
            for _, weight in self.trainable():
                weight.data = weight.data.float()

    @property
    def kind(self) -> Kind:
        return self._architecture.kind

    @property
    def part(self) -> str:
        """The network's name in its pipeline."""
        return self._architecture.part

    @property
    def latent_KHW(self) -> tuple[int, ...]:
        return self._architecture.latent_KHW

    @property
    def network(self) -> torch.nn.Module:
        network: torch.nn.Module = self._pipeline.components[self.part]
        return network

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Each prompt is read once and alone, so that its row does not depend on those beside it."""
        mixed = [NOTHING] if self._options.guidance > 1 and self._architecture.takes_guidance else []
        found = {key: self._told.find(key) for key in [*prompts, *mixed]}
        known = {key: told for key, told in found.items() if told is not None}
        if len(known) < len(found):
            with torch.no_grad(), self._at_work(*self._texts):
                known |= {key: self._read(key) for key in found if key not in known}
        for key, told in known.items():
            self._told.keep(key, told)
        return Conditioning(
            self._stacked([known[prompt] for prompt in prompts]),
            self._stacked([known[NOTHING]] * len(prompts)) if mixed else {},
        )

    def predict(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], known: Conditioning
    ) -> Float[Tensor, "b k h w"]:
        if not known.plain:
            return self._ask(x_BKHW, t_B, known.told)
        both = {name: torch.cat([known.plain[name], told]) for name, told in known.told.items()}
        plain_BKHW, told_BKHW = self._ask(torch.cat([x_BKHW, x_BKHW]), torch.cat([t_B, t_B]), both).chunk(2)
        return plain_BKHW + self._options.guidance * (told_BKHW - plain_BKHW)

    @torch.no_grad()
    def decode(self, x_BKHW: Float[Tensor, "b k h w"]) -> list[UInt8[ndarray, "s s 3"]]:
        """One picture at a time: the autoencoder's activations are far larger than its pictures."""
        with self._at_work(self._pipeline.vae):
            return [self._picture(x_1KHW) for x_1KHW in x_BKHW.split(1)]

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return trainable(self.network)

    def _ask(
        self, x_BKHW: Float[Tensor, "b k h w"], t_B: Float[Tensor, " b"], told: TextEmbedding
    ) -> Float[Tensor, "b k h w"]:
        with torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None):
            return self._architecture.predict(self.network, x_BKHW, t_B, told).float()

    def _picture(self, x_1KHW: Float[Tensor, "1 k h w"]) -> UInt8[ndarray, "s s 3"]:
        autoencoder = self._pipeline.vae
        config = autoencoder.config
        latent_1KHW = x_1KHW.to(self.device) / config.scaling_factor + (config.shift_factor or 0.0)
        picture_3HW = autoencoder.decode(latent_1KHW.to(autoencoder.dtype), return_dict=False)[0][0]
        colour_HW3 = (picture_3HW.float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return np.rint(colour_HW3 * 255).astype(np.uint8)

    def _read(self, prompt: str | None) -> TextEmbedding:
        if prompt is NOTHING:
            told = self._architecture.unconditional_embedding(self._pipeline, self.device)
        else:
            told = self._architecture.text_embedding(self._pipeline, prompt, self.device)
        return {name: tensor.cpu() for name, tensor in told.items()}

    def _stacked(self, rows: Sequence[TextEmbedding]) -> TextEmbedding:
        return {name: torch.cat([row[name] for row in rows]).to(self.device) for name in rows[0]}

    @contextmanager
    def _at_work(self, *parts: torch.nn.Module) -> Iterator[None]:
        if not self._options.rests:
            yield
            return
        for part in parts:
            part.to(self.device)
        try:
            yield
        finally:
            for part in parts:
                part.to("cpu")
