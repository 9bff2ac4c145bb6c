"""A set of slots, one bit each: what a search may return.

Dimension key   N members, B bytes
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """Slots in [0, size). Bit i of byte b is slot 8 b + i, which is the layout that FAISS selectors read."""

    bytes_B: UInt8[ndarray, " b"]
    size: int

    @classmethod
    def full(cls, size: int) -> "Bitmap":
        return cls._of_mask(np.ones(size, bool))

    @classmethod
    def of(cls, slots: "Sequence[int] | Int64[ndarray, ' n']", size: int) -> "Bitmap":
        """The bitmap of `slots`; those outside [0, size) are left out."""
        slots_N = np.asarray(slots, np.int64)
        mask = np.zeros(size, bool)
        mask[slots_N[(slots_N >= 0) & (slots_N < size)]] = True
        return cls._of_mask(mask)

    @classmethod
    def _of_mask(cls, mask: "ndarray") -> "Bitmap":
        return cls(np.packbits(mask, bitorder="little"), len(mask))

    def mask(self) -> ndarray:
        """One bool for each slot."""
        return np.unpackbits(self.bytes_B, count=self.size, bitorder="little").view(bool)

    def slots(self) -> Int64[ndarray, " n"]:
        """The members, rising."""
        return np.flatnonzero(self.mask())

    def count(self) -> int:
        return int(np.bitwise_count(self.bytes_B).sum()) if self.size else 0

    def __and__(self, other: "Bitmap") -> "Bitmap":
        size = min(self.size, other.size)
        length = (size + 7) // 8
        return Bitmap(self.bytes_B[:length] & other.bytes_B[:length], size).below(size)

    def below(self, size: int) -> "Bitmap":
        """Members smaller than `size`; the bitmap keeps its own size."""
        if size >= self.size:
            return self
        mask = self.mask().copy()
        mask[size:] = False
        return self._of_mask(mask)

    def grown(self, size: int) -> "Bitmap":
        """Sized `size`, the new slots being members."""
        mask = np.ones(size, bool)
        mask[: self.size] = self.mask()
        return self._of_mask(mask)

    def without(self, slots: "Sequence[int] | Int64[ndarray, ' n']") -> "Bitmap":
        slots_N = np.asarray(slots, np.int64)
        mask = self.mask().copy()
        mask[slots_N[(slots_N >= 0) & (slots_N < self.size)]] = False
        return self._of_mask(mask)
