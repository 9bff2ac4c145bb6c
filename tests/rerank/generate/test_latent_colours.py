"""Previews from latents, against decoders whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor, nn

from rerank.generate.diffusers.latent_colours import LatentColours, unpacked


class LinearAutoencoder(nn.Module):
    """Its decoder is a product, at twice the latents' side."""

    def __init__(self, slope_3K: Tensor, grey_3: Tensor, shift: float | None) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            latent_channels=slope_3K.shape[1], scaling_factor=0.5, shift_factor=shift
        )
        self.layer = nn.Conv2d(slope_3K.shape[1], 3, 1)
        self.layer.weight.data = slope_3K[:, :, None, None]
        self.layer.bias.data = grey_3  # type: ignore[union-attr]

    def decode(self, latent_BKHW: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=nn.functional.interpolate(self.layer(latent_BKHW), scale_factor=2))


@pytest.mark.parametrize("shift", [None, 0.2])
def test_a_linear_decoder_is_found_exactly(shift: float | None) -> None:
    rng = torch.Generator().manual_seed(0)
    slope_3K = 0.2 * torch.randn(3, 5, generator=rng)
    grey_3 = torch.tensor([0.1, -0.2, 0.0])
    autoencoder = LinearAutoencoder(slope_3K, grey_3, shift)
    latent_KHW = torch.randn(5, 6, 8, generator=rng)
    latent_KHW /= latent_KHW.std() * 1.01  # as clean latents are
    decoded = autoencoder.decode(latent_KHW[None] / 0.5 + (shift or 0.0)).sample[0, :, ::2, ::2]
    expected = np.rint((decoded.clamp(-1, 1).permute(1, 2, 0).detach().numpy() + 1) * 127.5)
    found = LatentColours.of(autoencoder).picture(latent_KHW, is_checked=True)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_noise_of_any_size_looks_alike() -> None:
    colours = LatentColours(torch.eye(3), torch.zeros(3))
    latent_KHW = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    large, larger = (colours.picture(size * latent_KHW, is_checked=True) for size in (14.0, 140.0))
    assert np.abs(large.astype(int) - larger).max() <= 1


@pytest.mark.parametrize(("shape", "size"), [((64, 32), (16, 8)), ((128, 128), (16, 16)), ((8, 8), (8, 8))])
def test_what_is_not_checked_is_shown_as_a_mosaic(shape: tuple[int, int], size: tuple[int, int]) -> None:
    colours = LatentColours(torch.eye(3), torch.zeros(3))
    assert colours.picture(torch.zeros(3, *shape), is_checked=False).shape == (*size, 3)


def test_tokens_are_laid_out_as_flux_packs_them() -> None:
    latent_1KHW = torch.arange(1.0 * 4 * 6 * 8).reshape(1, 4, 6, 8)
    packed = FluxPipeline._pack_latents(latent_1KHW, 1, 4, 6, 8)
    assert packed.shape == (1, 3 * 4, 4 * 4)
    torch.testing.assert_close(unpacked(packed[0], 6, 8), latent_1KHW[0])
