"""Captioned pictures as the backbone sees them: whole, and in crops of which the same words hold.

Dimension key   N pictures, V views of each, C classes, F features
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.random import Generator

from indexer.encoders.builtin import Backbone, BuiltinEncoder
from indexer.imaging.decode import Limits, decode
from indexer.sources.captioned import Captioned
from training.encoder.spoil import Pixels

CHUNK = 64  # pictures that are held at once
SMALLEST, LARGEST = 0.6, 0.95  # side of a crop as a share of the picture's


@dataclass(frozen=True, slots=True)
class Seen:
    """The whole picture is the first view."""

    feature_NVF: Float32[ndarray, "n v f"]
    logit_NVC: Float32[ndarray, "n v c"]
    captions: Sequence[Sequence[str]]

    def take(self, rows: Sequence[int]) -> "Seen":
        rows = list(rows)
        return Seen(self.feature_NVF[rows], self.logit_NVC[rows], [self.captions[row] for row in rows])

    def beside(self, other: "Seen") -> "Seen":
        """Both, this one first; they have as many views."""
        return Seen(
            np.concatenate([self.feature_NVF, other.feature_NVF]),
            np.concatenate([self.logit_NVC, other.logit_NVC]),
            [*self.captions, *other.captions],
        )

    def views(self, n_views: int) -> "Seen":
        """The first `n_views` of each picture; where it has fewer, it is seen whole again."""
        which = [view if view < self.feature_NVF.shape[1] else 0 for view in range(n_views)]
        return Seen(self.feature_NVF[:, which], self.logit_NVC[:, which], self.captions)


def read_pixels(pictures: Sequence[Captioned]) -> list[Pixels]:
    limits = Limits.from_memory()
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda picture: decode(picture.path.read_bytes(), limits).pixels, pictures))


def look(
    encoder: BuiltinEncoder,
    backbone: Backbone,
    pictures: Sequence[Captioned],
    *,
    n_crops: int = 0,
    seed: int = 0,
) -> Seen:
    rng = np.random.default_rng(seed)
    features, logits = [], []
    for start in range(0, len(pictures), CHUNK):
        prepared = [
            encoder.prepare(view)
            for pixels in read_pixels(pictures[start : start + CHUNK])
            for view in (pixels, *(crop(pixels, rng) for _ in range(n_crops)))
        ]
        feature_NF, logit_NC = backbone.run(prepared)
        features.append(feature_NF.reshape(-1, 1 + n_crops, feature_NF.shape[1]))
        logits.append(logit_NC.reshape(-1, 1 + n_crops, logit_NC.shape[1]))
    captions = [picture.captions for picture in pictures]
    return Seen(np.concatenate(features), np.concatenate(logits), captions)


def crop(picture: Pixels, rng: Generator) -> Pixels:
    """A part of the picture of at least one pixel, mirrored half of the time."""
    height, width = (max(1, round(side * rng.uniform(SMALLEST, LARGEST))) for side in picture.shape[:2])
    top = int(rng.integers(picture.shape[0] - height + 1))
    left = int(rng.integers(picture.shape[1] - width + 1))
    part = picture[top : top + height, left : left + width]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)
