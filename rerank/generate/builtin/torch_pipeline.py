"""The builtin generator on torch: a diffusers pipeline, to train on and to compare with.

    pipeline = rerank.generate.builtin.folder.load_pipeline(FOLDER)

Answering a search does not need it: `rerank.generate.builtin.generator` runs the same folder without torch.

Dimension key   B pictures, K H W latents, L tokens, E width of the sentence model
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    ConfigMixin,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    ModelMixin,
    UNet2DConditionModel,
)
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from indexer.encoders.builtin import FOLDER as SENTENCE_FOLDER
from indexer.encoders.builtin import SentenceModel
from rerank.generate.builtin.conditioning import condition
from rerank.generate.builtin.flow import TIME_SCALE, preconditioning, times
from rerank.generate.builtin.latents import PatchCodec, to_bytes

NUMBERS = ("name", "sigma_data", "tokens", "default_steps", "default_guidance")


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    """`PatchCodec` as a part that diffusers saves and loads; always float32."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, patch_px: int, channels: int) -> None:
        super().__init__()
        numbers = 3 * patch_px**2
        self.mean_P = torch.nn.Parameter(torch.zeros(numbers), requires_grad=False)
        self.component_KP = torch.nn.Parameter(torch.zeros(channels, numbers), requires_grad=False)
        self.scale_K = torch.nn.Parameter(torch.ones(channels), requires_grad=False)

    @classmethod
    def of(cls, codec: PatchCodec) -> "PatchAutoencoder":
        made = cls(codec.patch_px, len(codec.scale_K))
        with torch.no_grad():
            for name in ("mean_P", "component_KP", "scale_K"):
                getattr(made, name).copy_(torch.from_numpy(np.asarray(getattr(codec, name))))
        return made

    def codec(self) -> PatchCodec:
        mean_P, component_KP, scale_K = (
            tensor.detach().float().cpu().numpy() for tensor in (self.mean_P, self.component_KP, self.scale_K)
        )
        return PatchCodec(self.config.patch_px, mean_P, component_KP, scale_K)


class BuiltinPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Prompts → pictures. A call has its own generator, latents and scheduler; no call sees another."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: PatchAutoencoder,
        scheduler: FlowMatchEulerDiscreteScheduler,
        # Defaults only because diffusers takes an argument without one for a part to load.
        name: str = "",
        sigma_data: float = 0.5,
        tokens: int = 24,
        default_steps: int = 16,
        default_guidance: float = 2.0,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)
        self.register_to_config(
            name=name,
            sigma_data=sigma_data,
            tokens=tokens,
            default_steps=default_steps,
            default_guidance=default_guidance,
        )
        self._sentences = SentenceModel(SENTENCE_FOLDER, None)

    @classmethod
    def of_folder(cls, folder: Path) -> "BuiltinPipeline":
        """A saved pipeline. Its parts are those named here, not the modules that the folder names: it may be
        older than today's layout of the code, and nothing in it is imported.
        """
        index = cls.load_config(folder)
        return cls(
            unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
            vae=PatchAutoencoder.from_pretrained(folder / "vae"),
            scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
            **{name: index[name] for name in NUMBERS},
        )

    def encode_prompts(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(token states, their means), on the network's device."""
        known = condition(self._sentences, prompts, self.config.tokens)
        like = {"device": self.unet.device, "dtype": self.unet.dtype}
        return torch.from_numpy(known.token_BLE).to(**like), torch.from_numpy(known.pooled_BE).to(**like)

    def clean(self, x_BKHW: Tensor, t_B: Tensor, token_BLE: Tensor, pooled_BE: Tensor) -> Tensor:
        """x̂_0; differentiable."""
        into, skip, out = preconditioning(t_B[:, None, None, None], self.config.sigma_data)
        found = self.unet(
            (into * x_BKHW).to(self.unet.dtype),
            TIME_SCALE * t_B,
            token_BLE,
            class_labels=pooled_BE,
            return_dict=False,
        )[0]
        return skip * x_BKHW + out * found.float()

    def velocity(self, x_BKHW: Tensor, t_B: Tensor, token_BLE: Tensor, pooled_BE: Tensor) -> Tensor:
        """dx/dt = (x_t − x̂_0) / t, what a flow-matching scheduler calls the model's output."""
        clean = self.clean(x_BKHW, t_B, token_BLE, pooled_BE)
        return (x_BKHW - clean) / t_B[:, None, None, None]

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str = "",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        output_type: str = "np",
        callback_on_step_end: Callable[[int, Tensor], None] = lambda _step, _latents: None,
    ) -> np.ndarray | Tensor:
        """[B, S, S, 3] uint8, or with output_type="latent" the latents. Euler steps at even times."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        steps = self.config.default_steps if num_inference_steps is None else num_inference_steps
        guidance = self.config.default_guidance if guidance_scale is None else guidance_scale
        token, pooled = self.encode_prompts([*[negative_prompt] * len(prompts), *prompts])
        side = self.unet.config.sample_size
        shape = (len(prompts), self.unet.config.in_channels, side, side)
        x = torch.randn(shape, generator=generator) if latents is None else latents
        x = x.to(self.unet.device, torch.float32)
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(sigmas=times(steps)[:-1].tolist(), device=x.device)
        for step, sigma in enumerate(scheduler.sigmas[:-1]):
            t_B = sigma.repeat(2 * len(prompts))
            plain, told = self.velocity(torch.cat([x, x]), t_B, token, pooled).chunk(2)
            x = scheduler.step(
                plain + guidance * (told - plain), scheduler.timesteps[step], x, return_dict=False
            )[0]
            callback_on_step_end(step + 1, x)
        return x if output_type == "latent" else to_bytes(self.vae.codec().decode(x.cpu().numpy()))
