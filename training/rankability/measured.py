"""Attributes that are computed from pixels, at one scale, so that a picture and its thumbnail agree."""

import io

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from indexer.imaging import measures

SIDE = 256  # pixels of the longer side
JPEG_QUALITY = 75


def colourfulness(pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
    """Hasler and Süsstrunk 2003: spread and strength of the two opponent colours."""
    return measures.colourfulness(np.moveaxis(_scaled(pixels_HW3), -1, 0).astype(np.float32))


def brightness(pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
    """Mean luma, 0 to 255."""
    return float(_luma(pixels_HW3).mean())


def sharpness(pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
    """Variance of the Laplacian of the luma."""
    return float(10.0 ** measures.sharpness(_luma(pixels_HW3)) - 1.0)  # which is kept as a logarithm


def complexity(pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
    """Bits that a JPEG of quality 75 spends on a pixel."""
    scaled = _scaled(pixels_HW3)
    out = io.BytesIO()
    Image.fromarray(scaled).save(out, "JPEG", quality=JPEG_QUALITY)
    return 8 * out.tell() / (scaled.shape[0] * scaled.shape[1])


MEASURED = {
    "colourfulness": colourfulness,
    "brightness": brightness,
    "sharpness": sharpness,
    "complexity": complexity,
}


def _scaled(pixels_HW3: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    image = Image.fromarray(pixels_HW3)
    factor = SIDE / max(image.size)
    size = (max(3, round(image.width * factor)), max(3, round(image.height * factor)))
    return np.asarray(image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC))


def _luma(pixels_HW3: UInt8[ndarray, "h w 3"]) -> ndarray:
    return np.asarray(Image.fromarray(_scaled(pixels_HW3)).convert("L"), np.float32)
