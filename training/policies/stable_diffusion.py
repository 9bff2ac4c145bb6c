"""Stable Diffusion 1.x, 2.x and XL: a U-Net that predicts the noise ε, or v, which is turned into ε.

    x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε,    v = √ᾱ_t ε − √(1 − ᾱ_t) x_0   ⇒   ε = √ᾱ_t v + √(1 − ᾱ_t) x_t

Dimension key   B pictures, S training timesteps, K H W latents, L tokens, E width of the words
Reference       Salimans and Ho, arXiv:2202.00512, appendix D (v)
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from indexer.errors import InvalidInputError
from training.diffusion.ddim import scaled_linear
from training.policies.architecture import TextEmbedding, latent_side
from training.policies.policy import Kind


@dataclass(frozen=True, slots=True)
class Noise:
    """How noisy each timestep is (`abar_S` is ᾱ), and in which terms the network speaks of it."""

    abar_S: Float64[Tensor, " s"]
    predicts_v: bool

    @classmethod
    def of(cls, scheduler: Any) -> "Noise":  # noqa: ANN401
        """Raises InvalidInputError: predictions that are neither ε nor v, or another schedule."""
        predicts = scheduler.config.prediction_type
        if predicts not in ("epsilon", "v_prediction"):
            raise InvalidInputError(f"the model predicts {predicts!r}: expected epsilon or v_prediction")
        abar_S = scaled_linear()
        own_S = scheduler.alphas_cumprod.double().cpu()
        if scheduler.config.get("rescale_betas_zero_snr") or not torch.allclose(own_S, abar_S, atol=1e-4):
            raise InvalidInputError(
                f"the model's noise ends at ᾱ = {float(own_S[-1]):.5f}: expected the schedule of Stable "
                f"Diffusion (scaled_linear, 0.00085 to 0.012), which ends at {float(abar_S[-1]):.5f}"
            )
        return cls(abar_S, predicts == "v_prediction")

    def to_epsilon(
        self,
        raw_BKHW: Float[Tensor, "b k h w"],
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
    ) -> Float[Tensor, "b k h w"]:
        if not self.predicts_v:
            return raw_BKHW
        abar_B111 = self.abar_S[t_B.long().cpu()].to(x_BKHW)[:, None, None, None]
        return abar_B111.sqrt() * raw_BKHW.float() + (1 - abar_B111).sqrt() * x_BKHW


@dataclass(frozen=True, slots=True)
class StableDiffusion:
    """1.x and 2.x. The law is `training.policies.architecture.Architecture`."""

    latent_KHW: tuple[int, int, int]
    noise: Noise
    kind: Kind = "diffusion"
    part: str = "unet"
    takes_guidance: bool = True

    @classmethod
    def of(cls, pipeline: Any, side_px: int) -> "StableDiffusion":  # noqa: ANN401
        """Raises InvalidInputError: a model or a side that training does not know."""
        return cls(_latent_KHW(pipeline, side_px), Noise.of(pipeline.scheduler))

    def text_embedding(self, pipeline: Any, prompt: str, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        token_1LE, _ = pipeline.encode_prompt(prompt, device, 1, do_classifier_free_guidance=False)
        return {"encoder_hidden_states": token_1LE}

    def unconditional_embedding(self, pipeline: Any, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        return self.text_embedding(pipeline, "", device)

    def predict(
        self,
        network: torch.nn.Module,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: TextEmbedding,
    ) -> Float[Tensor, "b k h w"]:
        raw_BKHW = network(x_BKHW, t_B, **told, return_dict=False)[0]
        return self.noise.to_epsilon(raw_BKHW, x_BKHW, t_B)


@dataclass(frozen=True, slots=True)
class StableDiffusionXL:
    """Two text encoders; the U-Net is told the picture's size too. The law is `Architecture`."""

    latent_KHW: tuple[int, int, int]
    noise: Noise
    side_px: int
    kind: Kind = "diffusion"
    part: str = "unet"
    takes_guidance: bool = True

    @classmethod
    def of(cls, pipeline: Any, side_px: int) -> "StableDiffusionXL":  # noqa: ANN401
        """Raises InvalidInputError: a model or a side that training does not know."""
        if pipeline.vae.config.get("latents_mean") is not None:
            raise InvalidInputError(
                "the autoencoder shifts each channel (latents_mean): expected one with scaling_factor alone"
            )
        return cls(_latent_KHW(pipeline, side_px), Noise.of(pipeline.scheduler), side_px)

    def text_embedding(self, pipeline: Any, prompt: str, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        token_1LE, _, pooled_1E, _ = pipeline.encode_prompt(
            prompt, device=device, do_classifier_free_guidance=False
        )
        return self._told(token_1LE, pooled_1E)

    def unconditional_embedding(self, pipeline: Any, device: torch.device) -> TextEmbedding:  # noqa: ANN401
        """Zeros or the empty prompt, whichever the pipeline says."""
        _, token_1LE, _, pooled_1E = pipeline.encode_prompt(
            "", device=device, do_classifier_free_guidance=True
        )
        return self._told(token_1LE, pooled_1E)

    def predict(
        self,
        network: torch.nn.Module,
        x_BKHW: Float[Tensor, "b k h w"],
        t_B: Float[Tensor, " b"],
        told: TextEmbedding,
    ) -> Float[Tensor, "b k h w"]:
        raw_BKHW = network(
            x_BKHW,
            t_B,
            encoder_hidden_states=told["encoder_hidden_states"],
            added_cond_kwargs={name: told[name] for name in ("text_embeds", "time_ids")},
            return_dict=False,
        )[0]
        return self.noise.to_epsilon(raw_BKHW, x_BKHW, t_B)

    def _told(self, token_1LE: Tensor, pooled_1E: Tensor) -> TextEmbedding:
        """The picture is said to be whole: as large as it ever was, nothing cropped."""
        sizes = [self.side_px, self.side_px, 0, 0, self.side_px, self.side_px]
        return {
            "encoder_hidden_states": token_1LE,
            "text_embeds": pooled_1E,
            "time_ids": torch.tensor([sizes], dtype=token_1LE.dtype, device=token_1LE.device),
        }


def _latent_KHW(pipeline: Any, side_px: int) -> tuple[int, int, int]:  # noqa: ANN401
    config = pipeline.unet.config
    if config.time_cond_proj_dim is not None:
        raise InvalidInputError(
            "the U-Net is told its guidance (time_cond_proj_dim), as distilled ones are: expected a plain one"
        )
    side = latent_side(pipeline, side_px, patch=2 ** (len(config.block_out_channels) - 1))
    return (config.in_channels, side, side)
