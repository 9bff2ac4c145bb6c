"""What an open_clip model is shown of a picture: resized and cropped bytes, without torch.

The geometry is that of open_clip's own evaluation transform (torchvision on PIL pictures), so weights trained
there see what they were trained on. Scaling to [0, 1], mean and standard deviation are not applied here: they
are the first layer of the model (see `openclip_torch.ImageTower`), which keeps one copy of that arithmetic
for torch and ONNX, and keeps a prepared picture four times smaller.

Dimension key   H W the picture, h w the model's input
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from indexer.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

RESIZE_MODES = ("shortest", "longest", "squash")
INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True, slots=True)
class PreprocessConfig:
    """How a model wants its pictures.

    `resize_mode` is "shortest" (fit the shorter side, crop the centre), "longest" (fit the longer side, pad
    with `fill_color`) or "squash" (ignore the aspect ratio). `mean` and `std` are per channel, for values in
    [0, 1].
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    def __post_init__(self) -> None:
        if self.resize_mode not in RESIZE_MODES:
            raise InvalidInputError(f"resize_mode is {self.resize_mode!r}, expected one of {RESIZE_MODES}")
        if self.interpolation not in INTERPOLATIONS:
            raise InvalidInputError(
                f"interpolation is {self.interpolation!r}, expected one of {INTERPOLATIONS}"
            )
        if self.height < 1 or self.width < 1:
            raise InvalidInputError(f"input size is {self.height}x{self.width}, expected at least 1x1")


def fit(pixels_HW3: UInt8[ndarray, "H W 3"], config: PreprocessConfig) -> UInt8[ndarray, "h w 3"]:
    """Return the picture at exactly `config.height` x `config.width`.

    Raises InvalidInputError when the array is not a uint8 RGB picture.
    """
    is_rgb = pixels_HW3.ndim == 3 and pixels_HW3.shape[2] == 3 and pixels_HW3.dtype == np.uint8
    if not is_rgb or not pixels_HW3.size:
        raise InvalidInputError(
            f"a picture is a uint8 array [H, W, 3], not {pixels_HW3.dtype} {list(pixels_HW3.shape)}"
        )
    from PIL import Image  # here, so that listing models does not load it

    picture = Image.fromarray(np.ascontiguousarray(pixels_HW3))
    filter_ = Image.Resampling.BILINEAR if config.interpolation == "bilinear" else Image.Resampling.BICUBIC
    if config.resize_mode == "squash":
        fitted = picture.resize((config.width, config.height), filter_)
    elif config.resize_mode == "longest":
        fitted = _pad(_resize_longest(picture, config, filter_), config)
    else:
        fitted = _crop(_resize_shortest(picture, config, filter_), config)
    return np.asarray(fitted)


def _resize_shortest(picture: "Image", config: PreprocessConfig, filter_: "Resampling") -> "Image":
    width, height = picture.size
    if config.height == config.width:
        # The longer side is truncated, not rounded: torchvision does so.
        side = config.width
        size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
        return picture.resize(size, filter_)
    ratio = min(height / config.height, width / config.width)
    from PIL import Image

    # open_clip forgets to pass the interpolation on in this one case: it is bicubic whatever the model says.
    return picture.resize((round(width / ratio), round(height / ratio)), Image.Resampling.BICUBIC)


def _resize_longest(picture: "Image", config: PreprocessConfig, filter_: "Resampling") -> "Image":
    width, height = picture.size
    ratio = max(height / config.height, width / config.width)
    # At least one pixel: a 1 x 5000 strip would otherwise vanish.
    return picture.resize((max(1, round(width / ratio)), max(1, round(height / ratio))), filter_)


def _crop(picture: "Image", config: PreprocessConfig) -> "Image":
    left = round((picture.width - config.width) / 2)
    top = round((picture.height - config.height) / 2)
    return picture.crop((left, top, left + config.width, top + config.height))


def _pad(picture: "Image", config: PreprocessConfig) -> "Image":
    from PIL import Image

    canvas = Image.new("RGB", (config.width, config.height), (config.fill_color,) * 3)
    # The odd pixel goes to the right and to the bottom.
    canvas.paste(picture, ((config.width - picture.width) // 2, (config.height - picture.height) // 2))
    return canvas
