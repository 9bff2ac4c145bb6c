"""What is measured of a picture without a model: colourfulness, brightness, sharpness, a hash of its look.

All four are taken from a picture whose longer side is MEASURED_SIDE, so that they compare between pictures of
every size. Pure: pixels in, numbers out.

Dimension key   H height, W width
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from indexer.types import JSONValue

MEASURED_SIDE = 160  # pixels of the longer side: all four then take a quarter of a millisecond
LUMA = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709: shares of red, green and blue in luminance
HASH_ROWS, HASH_COLUMNS = 8, 9  # 8 differences in each of 8 rows: 64 bits
HASH_MARGIN = 1.0  # grey levels: what compression adds to a flat area decides no bit


@dataclass(frozen=True, slots=True)
class Measures:
    """Of one picture; see the functions of the same names. `dhash` is 16 hexadecimal digits."""

    colourfulness: float
    brightness: float
    sharpness: float
    dhash: str

    def to_metadata(self) -> dict[str, JSONValue]:
        """As it is stored, under `measured`: filters and axes say `measured.brightness`."""
        return asdict(self)


FIELDS = tuple(f"measured.{name}" for name in Measures.__slots__)


def measure(pixels_HW3: UInt8[ndarray, "h w 3"]) -> Measures:
    """All four, of sRGB pixels whose longer side is MEASURED_SIDE."""
    plane_3HW = np.ascontiguousarray(pixels_HW3.transpose(2, 0, 1))
    value_3HW = plane_3HW.astype(np.float32)
    luma_HW = np.einsum("chw,c->hw", value_3HW, LUMA.astype(np.float32))
    return Measures(
        colourfulness=round(colourfulness(value_3HW), 2),
        brightness=round(brightness(plane_3HW), 4),
        sharpness=round(sharpness(luma_HW), 3),
        dhash=dhash(luma_HW),
    )


def colourfulness(value_3HW: Float32[ndarray, "3 h w"]) -> float:
    """M = σ_rgyb + 0.3 μ_rgyb of the opponent colours rg = R - G and yb = (R + G) / 2 - B.

    Args:
        value_3HW: Red, green, blue in [0, 255].

    Returns:
        0 for greys; the authors call 15 slightly, 45 quite and 109 extremely colourful. Colour, not quality.

    Reference: Hasler and Süsstrunk, "Measuring colourfulness in natural images", 2003, section 7.
    """
    red_HW, green_HW, blue_HW = value_3HW
    rg_HW = red_HW - green_HW
    yb_HW = 0.5 * (red_HW + green_HW) - blue_HW
    sigma = np.hypot(rg_HW.std(), yb_HW.std())
    mu = np.hypot(rg_HW.mean(), yb_HW.mean())
    return float(sigma + 0.3 * mu)


def brightness(plane_3HW: UInt8[ndarray, "3 h w"]) -> float:
    """Mean relative luminance Y = 0.2126 R + 0.7152 G + 0.0722 B of linear light: 0 black, 1 white.

    Reference: IEC 61966-2-1 (sRGB).
    """
    counts_3V = np.stack([np.bincount(plane_HW.ravel(), minlength=256) for plane_HW in plane_3HW])
    return float(LUMA @ (counts_3V @ _linear_light()) / plane_3HW[0].size)


def sharpness(luma_HW: Float32[ndarray, "h w"]) -> float:
    """log10(1 + variance of the Laplacian of luma in [0, 255]): 0 without detail, up to about 5.

    Says how much fine detail there is at MEASURED_SIDE: a defocused picture has little, so has a clear sky.
    A picture that is smaller than MEASURED_SIDE was enlarged, and counts as it then looks.

    Reference: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000 (LAPV).
    """
    if min(luma_HW.shape) < 3:
        return 0.0
    laplacian_HW = luma_HW[:-2, 1:-1] + luma_HW[2:, 1:-1]
    laplacian_HW += luma_HW[1:-1, :-2]
    laplacian_HW += luma_HW[1:-1, 2:]
    laplacian_HW -= 4 * luma_HW[1:-1, 1:-1]
    return float(np.log10(1.0 + laplacian_HW.var()))


def dhash(luma_HW: Float32[ndarray, "h w"]) -> str:
    """64 bits, row by row: is a cell of an 8 x 9 grid darker than its right neighbour, by HASH_MARGIN?

    Copies that were resized or compressed again differ in a few bits, other pictures in about half; flat
    pictures are all alike.
    """
    cell_RC = _cell_means(_cell_means(luma_HW, HASH_ROWS).T, HASH_COLUMNS).T
    bits = np.packbits(cell_RC[:, 1:] - cell_RC[:, :-1] > HASH_MARGIN)
    return bits.tobytes().hex()


def _cell_means(value_HW: Float32[ndarray, "h w"], cells: int) -> Float32[ndarray, "c w"]:
    """Means over `cells` bands of rows; where there are fewer rows, bands share them."""
    start_C = np.arange(cells) * len(value_HW) // cells
    size_C = np.maximum(np.diff(start_C, append=len(value_HW)), 1)
    return np.add.reduceat(value_HW, start_C, axis=0) / size_C[:, None].astype(np.float32)


def _linear_light() -> ndarray:
    """The 256 values of an sRGB channel as linear light in [0, 1]."""
    value_V = np.arange(256) / 255.0
    return np.where(value_V <= 0.04045, value_V / 12.92, ((value_V + 0.055) / 1.055) ** 2.4)
