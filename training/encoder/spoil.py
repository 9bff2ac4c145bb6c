"""Controlled harm to pictures, each of one kind and of a known strength from 0 to 1.

What is here trains the builtin encoder's axes and measures any encoder's: `training.encoder.fit`,
`training.rankability.materials`.
"""

import io

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Pixels = UInt8[ndarray, "h w 3"]

KINDS = ("blur", "noise", "compression", "darkness", "low resolution")
STRENGTHS = (0.3, 1.0)  # of what a quality axis is fitted on: weaker harm is hardly seen
WARM_DARK, WARM_LIGHT = (40, 26, 13), (250, 235, 205)  # ink and paper of an old print


def blur(image: Image.Image, strength: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1 + 6 * strength))


def noise(image: Image.Image, strength: float, rng: Generator) -> Image.Image:
    grain = rng.normal(0, 20 + 40 * strength, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def compress(image: Image.Image, strength: float) -> Image.Image:
    """JPEG of quality 25 down to 5."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=int(25 - 20 * strength))
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def darken(image: Image.Image, strength: float) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(1 - 0.7 * strength)
    return ImageEnhance.Contrast(image).enhance(1 - 0.6 * strength)


def coarsen(image: Image.Image, strength: float) -> Image.Image:
    """Fewer pixels, then as large as before."""
    factor = 2 + 8 * strength
    small = (max(8, int(image.width / factor)), max(8, int(image.height / factor)))
    return image.resize(small).resize(image.size, Image.Resampling.NEAREST)


def harm(image: Image.Image, kind: str, strength: float, rng: Generator) -> Image.Image:
    """`kind` is one of KINDS."""
    if kind == "noise":
        return noise(image, strength, rng)
    return {"blur": blur, "compression": compress, "darkness": darken, "low resolution": coarsen}[kind](
        image, strength
    )


def harmed(picture: Pixels, kind: str, rng: Generator) -> Pixels:
    """One kind of harm, as strong as in `degrade`."""
    return np.asarray(harm(Image.fromarray(picture), kind, float(rng.uniform(*STRENGTHS)), rng))


def degrade(picture: Pixels, rng: Generator) -> Pixels:
    """One or two of KINDS."""
    image = Image.fromarray(picture)
    for kind in rng.choice(len(KINDS), rng.integers(1, 3), replace=False):
        strength = float(rng.uniform(*STRENGTHS))
        image = harm(image, KINDS[int(kind)], strength, rng)
    return np.asarray(image)


def age_photo(picture: Pixels, rng: Generator) -> Pixels:
    """A faded print: little or no colour, a warm tone, low contrast, grain."""
    image = Image.fromarray(picture)
    toned = _toned(image)
    if rng.random() < 0.4:
        toned = ImageOps.grayscale(image).convert("RGB")
    image = Image.blend(image, toned, float(rng.uniform(0.6, 1.0)))
    image = ImageEnhance.Contrast(image).enhance(float(rng.uniform(0.5, 0.9)))
    return _grained(image, float(rng.uniform(4, 16)), rng)


def fade(picture: Pixels, strength: float, rng: Generator) -> Pixels:
    """The same by degrees: at 0 the picture, at 1 the oldest print that `age_photo` makes."""
    image = Image.fromarray(picture)
    image = Image.blend(image, _toned(image), strength)
    image = ImageEnhance.Contrast(image).enhance(1 - 0.5 * strength)
    return _grained(image, 16 * strength, rng)


def _toned(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), WARM_DARK, WARM_LIGHT)


def _grained(image: Image.Image, deviation: float, rng: Generator) -> Pixels:
    grain = rng.normal(0, deviation, (image.height, image.width, 1))
    return np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
