"""Rewards from pixels alone, without a model: known exactly, and easily gamed.

Dimension key   N pictures, H height, W width
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray
from PIL import Image

from indexer.imaging.decode import at_scale
from indexer.imaging.measures import MEASURED_SIDE, colourfulness
from training.rewards.reward import RewardCard

KILOBYTE = 1000  # bytes, as DDPO counts (arXiv:2305.13301)


@dataclass(frozen=True, slots=True)
class JpegReward:
    """`sign` times the kilobytes of the picture as a JPEG: -1 rewards what compresses well, 1 what does not.

    The file's header counts: a flat picture has some 0.6 kB.
    """

    card: RewardCard
    quality: int
    sign: Literal[-1, 1]

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        return self.sign * np.array([self._kilobytes(picture) for picture in pictures])

    def _kilobytes(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
        out = io.BytesIO()
        Image.fromarray(pixels_HW3).save(out, "JPEG", quality=self.quality)
        return out.tell() / KILOBYTE


@dataclass(frozen=True, slots=True)
class ColourfulnessReward:
    """`indexer.imaging.measures.colourfulness`, at the size at which collections are measured."""

    card: RewardCard

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        return np.array([_colourfulness(at_scale(picture, MEASURED_SIDE)) for picture in pictures])


def _colourfulness(pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
    return colourfulness(pixels_HW3.transpose(2, 0, 1).astype(np.float32))
