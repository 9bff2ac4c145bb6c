"""A picture's colours from its latents by one small product, in place of the autoencoder.

    rgb ≈ b + J z,    b = D(0),    J_k = (D(s e_k) − D(−s e_k)) / 2s

D is the autoencoder's own decoder, on latents that are the same everywhere: no table of any model is needed.

Dimension key   B probes, K channels of the latents, H W latents down and across
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.generate.request import Pixels

STEP = 1.0  # s: latents are scaled to have a deviation near 1
PROBE_SIDE = 4  # latents across: enough that the borders do not decide
MOST_UNCHECKED_PX = 16


@dataclass(frozen=True, slots=True)
class LatentColours:
    slope_3K: Tensor
    grey_3: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, autoencoder: Any) -> "LatentColours":  # noqa: ANN401  # diffusers is untyped
        """Two probes a channel; some milliseconds for a small autoencoder, seconds for a large one."""
        # A copy in float32: some decoders overflow in float16.
        decoder = copy.deepcopy(autoencoder).float()
        config = decoder.config
        n_channels = config.latent_channels
        step_KK = STEP * torch.eye(n_channels)
        probe_BK = torch.cat([step_KK, -step_KK, torch.zeros(1, n_channels)])
        latent_BKHW = probe_BK[:, :, None, None].expand(-1, -1, PROBE_SIDE, PROBE_SIDE)
        latent_BKHW = latent_BKHW / config.scaling_factor + (config.shift_factor or 0.0)
        colour_B3 = decoder.decode(latent_BKHW).sample.mean(dim=(2, 3))
        up_K3, down_K3 = colour_B3[:n_channels], colour_B3[n_channels:-1]
        return cls(((up_K3 - down_K3) / (2 * STEP)).T, colour_B3[-1])

    def picture(self, latent_KHW: Tensor, *, is_checked: bool) -> Pixels:
        """One pixel a latent. Noisy latents are scaled down to the size of clean ones.

        What a safety checker has yet to see (`is_checked` False) becomes a mosaic too coarse to show much.
        """
        latent_KHW = latent_KHW.float().cpu()
        if not is_checked:
            latent_KHW = _coarse(latent_KHW)
        latent_KHW = latent_KHW / max(1.0, float(latent_KHW.std()))
        colour_HW3 = torch.einsum("ck,khw->hwc", self.slope_3K, latent_KHW) + self.grey_3
        return np.rint((colour_HW3.clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8)


def unpacked(latent_LP: Tensor, height: int, width: int) -> Tensor:
    """[tokens, K·2·2] → [K, height, width]: a token is a square of four latents."""
    n_channels = latent_LP.shape[-1] // 4
    grid = latent_LP.reshape(height // 2, width // 2, n_channels, 2, 2).permute(2, 0, 3, 1, 4)
    return grid.reshape(n_channels, height, width)


def _coarse(latent_KHW: Tensor) -> Tensor:
    height, width = latent_KHW.shape[1:]
    shrink = min(1.0, MOST_UNCHECKED_PX / max(height, width))
    size = (max(1, int(height * shrink)), max(1, int(width * shrink)))
    return torch.nn.functional.adaptive_avg_pool2d(latent_KHW, size)
