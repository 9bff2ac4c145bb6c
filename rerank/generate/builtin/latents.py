"""Pictures as a few numbers a patch: a fixed linear autoencoder.

    z_K = (C (patch_P − mean_P)) / scale_K           patch_P ≈ mean_P + Cᵀ (scale_K z_K)

C holds the first K principal components of the training pictures' patches. Nothing is trained.

Dimension key   N pictures, S side in pixels, H W patches down and across, P numbers of a patch, K channels
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class PatchCodec:
    """Pixels in [-1, 1] ↔ latents. The names are those in vae/diffusion_pytorch_model.safetensors."""

    patch_px: int
    mean_P: Float32[ndarray, " p"]
    component_KP: Float32[ndarray, "k p"]
    scale_K: Float32[ndarray, " k"]

    def encode(self, pixel_NSS3: Float32[ndarray, "n s s 3"]) -> Float32[ndarray, "n k h w"]:
        patch_NHWP = patches(pixel_NSS3, self.patch_px)
        latent_NHWK = (patch_NHWP - self.mean_P) @ self.component_KP.T / self.scale_K
        return np.ascontiguousarray(latent_NHWK.transpose(0, 3, 1, 2), np.float32)

    def decode(self, latent_NKHW: Float32[ndarray, "n k h w"]) -> Float32[ndarray, "n s s 3"]:
        """Not clipped: values a little beyond [-1, 1] are possible."""
        latent_NHWK = latent_NKHW.transpose(0, 2, 3, 1)
        patch_NHWP = (latent_NHWK * self.scale_K) @ self.component_KP + self.mean_P
        n, height, width, _ = patch_NHWP.shape
        side = self.patch_px
        pixel_NHpWp3 = patch_NHWP.reshape(n, height, width, side, side, 3).transpose(0, 1, 3, 2, 4, 5)
        return np.ascontiguousarray(pixel_NHpWp3.reshape(n, height * side, width * side, 3), np.float32)


def patches(pixel_NSS3: Float32[ndarray, "n s s 3"], side: int) -> Float32[ndarray, "n h w p"]:
    """Squares of `side` pixels, each as one row: its rows, their pixels, their colours."""
    n, height, width, _ = pixel_NSS3.shape
    grid = pixel_NSS3.reshape(n, height // side, side, width // side, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(grid.reshape(n, height // side, width // side, side * side * 3))


def to_bytes(pixel_NSS3: Float32[ndarray, "n s s 3"]) -> ndarray:
    """[-1, 1] → uint8."""
    return np.clip(np.rint((pixel_NSS3 + 1) * 127.5), 0, 255).astype(np.uint8)
