"""Small pictures at a size that a person can look at."""

import io

from jaxtyping import UInt8
from numpy import asarray, ndarray
from PIL import Image


def enlarge(pixels_HW3: UInt8[ndarray, "h w 3"], side_px: int) -> UInt8[ndarray, "H W 3"]:
    """The longer side becomes `side_px`, smoothly; there is no more detail in it than before."""
    height, width, _ = pixels_HW3.shape
    scale = side_px / max(width, height)
    return resize(pixels_HW3, max(1, round(width * scale)), max(1, round(height * scale)))


def resize(pixels_HW3: UInt8[ndarray, "h w 3"], width: int, height: int) -> UInt8[ndarray, "H W 3"]:
    return asarray(Image.fromarray(pixels_HW3).resize((width, height), Image.Resampling.LANCZOS))


def to_png(pixels_HW3: UInt8[ndarray, "h w 3"], *, level: int = 6) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels_HW3).save(out, "PNG", compress_level=level)
    return out.getvalue()
