"""How a collection spreads along a direction, so that axis weights mean the same everywhere.

Dimension key   N sampled pictures, D embedding
"""

from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.protocols import Snapshot

SAMPLE = 16_384  # pictures; the standard error of a standard deviation is then under 0.6 %
DRIFT = 0.05  # of the collection; statistics are taken anew when more has changed
CONSTANT_STD = 1e-6  # standard deviation below which an axis does not tell these pictures apart


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of one number over the collection."""

    mean: float
    std: float

    @property
    def is_constant(self) -> bool:
        return not self.std > CONSTANT_STD


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
    """The moments of the newest snapshot, taken again once the collection has drifted from the sample."""

    def __init__(self) -> None:
        self._taking = Lock()
        self._taken: _Taken | None = None  # replaced as a whole, so that it is read unlocked

    def of(self, snapshot: Snapshot) -> Moments:
        """While one thread takes them anew, the others have those from before; only without any they wait."""
        taken = self._taken
        if taken is None or taken.has_drifted(snapshot):
            if not self._taking.acquire(blocking=taken is None):
                assert taken is not None
                return taken.moments
            try:
                taken = self._taken
                if taken is None or taken.has_drifted(snapshot):
                    moments = Moments.of(snapshot.sample(SAMPLE).vectors_ND)
                    self._taken = taken = _Taken(moments, snapshot.writes, snapshot.images)
            finally:
                self._taking.release()
        return taken.moments


@dataclass(frozen=True, slots=True)
class _Taken:
    """Moments, and the size of the collection when they were taken."""

    moments: Moments
    writes: int
    images: int

    def has_drifted(self, snapshot: Snapshot) -> bool:
        change = abs(snapshot.writes - self.writes) + abs(snapshot.images - self.images)
        return change > DRIFT * max(self.images, 1)
