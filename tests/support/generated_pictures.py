"""Generated pictures, the same in every run."""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

SIZES = {"landscape": (90, 160), "portrait": (150, 80), "tiny": (3, 5), "square": (64, 64), "grey": (97, 61)}


def picture(kind: str) -> UInt8[ndarray, "h w 3"]:
    """Smooth colour, an edge and a little noise, as in a photograph; `kind` is a key of `SIZES`."""
    height, width = SIZES[kind]
    rng = np.random.default_rng(sum(kind.encode()))
    y_H1, x_1W = np.ogrid[:height, :width]
    base_HW = (
        np.sin(x_1W / 9.0 + rng.uniform(0, 6)) + np.cos(y_H1 / 7.0) + 1.5 * (x_1W * height > y_H1 * width)
    )
    gains_3 = np.ones(3) if kind == "grey" else rng.uniform(0.3, 1.0, 3)
    noise_HW1 = rng.normal(0.0, 4.0, (height, width, 1))
    values_HW3 = 90 + 45 * base_HW[:, :, None] * gains_3 + noise_HW1
    return np.clip(values_HW3, 0, 255).astype(np.uint8)


def pictures() -> list[UInt8[ndarray, "h w 3"]]:
    return [picture(kind) for kind in SIZES]
