"""Small pictures at a size that a person can look at."""

import io

from jaxtyping import UInt8
from numpy import asarray, ndarray
from PIL import Image


def enlarge(pixels_HW3: UInt8[ndarray, "h w 3"], side_px: int) -> UInt8[ndarray, "H W 3"]:
    """The longer side becomes `side_px`, smoothly; there is no more detail in it than before."""
    image = Image.fromarray(pixels_HW3)
    scale = side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return asarray(image.resize(size, Image.Resampling.LANCZOS))


def to_png(pixels_HW3: UInt8[ndarray, "h w 3"]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels_HW3).save(out, "PNG")
    return out.getvalue()
