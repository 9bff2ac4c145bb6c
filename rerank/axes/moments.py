"""How a collection spreads along a direction, so that axis weights mean the same everywhere.

Dimension key   N sampled pictures, D embedding
"""

from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.collection.view import View

SAMPLE = 16_384  # pictures; the standard error of a standard deviation is then under 0.6 %
DRIFT = 0.05  # of the collection; statistics are taken anew when more has changed
FLAT = 1e-6  # standard deviation below which an axis does not tell these pictures apart


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of one number over the collection."""

    mean: float
    std: float

    @property
    def is_flat(self) -> bool:
        return not self.std > FLAT


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and covariance of the collection's vectors: the spread along any direction, in O(D²)."""

    mean_D: Float32[ndarray, " d"]
    covariance_DD: Float32[ndarray, "d d"]

    @classmethod
    def of(cls, vectors_ND: Float32[ndarray, "n d"]) -> "Moments":
        if len(vectors_ND) == 0:
            dim = vectors_ND.shape[1]
            return cls(np.zeros(dim, np.float32), np.zeros((dim, dim), np.float32))
        mean_D = vectors_ND.mean(axis=0)
        centred_ND = vectors_ND - mean_D
        return cls(mean_D, centred_ND.T @ centred_ND / np.float32(len(vectors_ND)))

    def along(self, direction_D: Float32[ndarray, " d"]) -> Spread:
        variance = float(direction_D @ self.covariance_DD @ direction_D)
        return Spread(float(self.mean_D @ direction_D), float(np.sqrt(max(variance, 0.0))))


def spread_of(values_N: Float64[ndarray, " n"]) -> Spread:
    """Spread of a stored field; NaN marks pictures without it and is left out."""
    known = values_N[~np.isnan(values_N)]
    return Spread(float(known.mean()), float(known.std())) if len(known) else Spread(0.0, 0.0)


class MomentsCache:
    """The moments of the newest view, taken anew only when the collection has drifted from the sample."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._moments: Moments | None = None
        self._taken_at = (0, 0)  # slots, images

    def of(self, view: View) -> Moments:
        with self._lock:
            slots, images = self._taken_at
            change = abs(view.slots - slots) + abs(view.images - images)
            if self._moments is None or change > DRIFT * max(images, 1):
                self._moments = Moments.of(view.sample(SAMPLE))
                self._taken_at = (view.slots, view.images)
            return self._moments
