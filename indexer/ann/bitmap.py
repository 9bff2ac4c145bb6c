"""A set of rows, one bit each: what a search may return.

Dimension key   N members, B bytes
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

BIT = (1 << np.arange(8)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Bitmap:
    """Rows in [0, size). Bit i of byte b is row 8 b + i, which is the layout that FAISS selectors read.

    Bits at and behind `size` are zero. Never changed, so what is derived from one may be kept beside it.
    """

    bytes_B: UInt8[ndarray, " b"]
    size: int

    @classmethod
    def full(cls, size: int) -> "Bitmap":
        return cls(_cut(np.full((size + 7) // 8, 0xFF, np.uint8), size), size)

    @classmethod
    def of(cls, rows: "Sequence[int] | Int64[ndarray, ' n']", size: int) -> "Bitmap":
        """The bitmap of `rows`; those outside [0, size) are left out."""
        rows_N = np.asarray(rows, np.int64)
        mask = np.zeros(size, bool)
        mask[rows_N[(rows_N >= 0) & (rows_N < size)]] = True
        return cls.of_mask(mask)

    @classmethod
    def of_mask(cls, mask: ndarray) -> "Bitmap":
        """One bool for each row."""
        return cls(np.packbits(mask, bitorder="little"), len(mask))

    @cached_property
    def count(self) -> int:
        return int(np.bitwise_count(self.bytes_B).sum()) if self.size else 0

    @property
    def is_full(self) -> bool:
        return self.count == self.size

    def mask(self) -> ndarray:
        """One bool for each row."""
        return np.unpackbits(self.bytes_B, count=self.size, bitorder="little").view(bool)

    def has(self, rows_N: Int64[ndarray, " n"]) -> ndarray:
        """One bool for each of `rows_N`, which lie in [0, size)."""
        return (self.bytes_B[rows_N >> 3] & BIT[rows_N & 7]) != 0

    def rows(self) -> Int64[ndarray, " n"]:
        """The members, rising."""
        return np.flatnonzero(self.mask())

    def __and__(self, other: "Bitmap") -> "Bitmap":
        size = min(self.size, other.size)
        length = (size + 7) // 8
        return Bitmap(_cut(self.bytes_B[:length] & other.bytes_B[:length], size), size)

    def minus(self, other: "Bitmap") -> "Bitmap":
        """Members that are not in `other`, which has the same size."""
        return Bitmap(self.bytes_B & ~other.bytes_B, self.size)

    def joined(self, rows: "Sequence[int] | Int64[ndarray, ' n']") -> "Bitmap":
        """With these rows as members, which lie in [0, size)."""
        rows_N = np.asarray(rows, np.int64)
        bytes_B = self.bytes_B.copy()
        np.bitwise_or.at(bytes_B, rows_N >> 3, BIT[rows_N & 7])
        return Bitmap(bytes_B, self.size)

    def below(self, size: int) -> "Bitmap":
        """Members smaller than `size`; the bitmap keeps its own size."""
        if size >= self.size:
            return self
        bytes_B = self.bytes_B.copy()
        bytes_B[(size + 7) // 8 :] = 0
        return Bitmap(_cut(bytes_B, size), self.size)

    def grown(self, size: int) -> "Bitmap":
        """Sized `size`, the new rows being members."""
        bytes_B = Bitmap.full(size).bytes_B.copy()
        length = len(self.bytes_B)
        if length:
            bytes_B[: length - 1] = self.bytes_B[:-1]
            behind = (0xFF << (self.size - 8 * (length - 1))) & 0xFF  # in the last byte: new, so members
            bytes_B[length - 1] &= self.bytes_B[-1] | behind
        return Bitmap(bytes_B, size)

    def without(self, rows: "Sequence[int] | Int64[ndarray, ' n']") -> "Bitmap":
        rows_N = np.asarray(rows, np.int64)
        rows_N = rows_N[(rows_N >= 0) & (rows_N < self.size)]
        if len(rows_N) == 0:
            return self
        bytes_B = self.bytes_B.copy()
        np.bitwise_and.at(bytes_B, rows_N >> 3, ~BIT[rows_N & 7])
        return Bitmap(bytes_B, self.size)


def _cut(bytes_B: UInt8[ndarray, " b"], size: int) -> UInt8[ndarray, " b"]:
    """Clear the bits of the last byte of `size` that lie behind it."""
    if size % 8:
        bytes_B[size // 8] &= (1 << (size % 8)) - 1
    return bytes_B
