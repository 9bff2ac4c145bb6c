"""DATA_DIR/<collection>/vectors.f16: one row of float16 for each slot, appended, never changed.

The database says how many rows are published. Bytes behind them are the leftover of a write that never
committed; the next write goes over them.

Dimension key   N rows, D embedding
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32
from numpy import ndarray

from indexer.errors import CorruptStoreError, InvalidInputError
from indexer.faults import reached
from indexer.files import sync_folder

BYTES = 2  # of a float16


class VectorFile:
    """Appending and memory-mapped reading."""

    def __init__(self, path: Path, dim: int) -> None:
        self.path = path
        self.dim = dim

    def write(self, vectors_ND: Float32[ndarray, "n d"], at: int) -> None:
        """Put rows into slots `at`, `at` + 1, … and return when they are on disk.

        Raises:
            InvalidInputError: Wrong length, or a number that is not finite, also after rounding to float16.
            CorruptStoreError: Published rows are missing before slot `at`.
        """
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] != self.dim:
            raise InvalidInputError(f"vectors have shape {vectors_ND.shape}: expected (n, {self.dim})")
        with np.errstate(over="ignore"):
            rows_ND = vectors_ND.astype("<f2")
        if not np.isfinite(rows_ND).all():
            raise InvalidInputError("a vector holds a number that is not finite, or too large for float16")
        self.check(at)
        created = not self.path.exists()
        with self.path.open("r+b" if not created else "x+b") as file:
            file.seek(at * self.dim * BYTES)
            file.write(rows_ND.tobytes())
            file.truncate()
            file.flush()
            reached("appended")
            os.fsync(file.fileno())
        if created:
            sync_folder(self.path.parent)
        reached("synced")

    def read(self, slots: int) -> Float16[ndarray, "n d"]:
        """The first `slots` rows, mapped, not read. CorruptStoreError when the file is shorter."""
        self.check(slots)
        if slots == 0:
            return np.empty((0, self.dim), np.float16)
        return np.memmap(self.path, np.float16, "r", shape=(slots, self.dim))

    def check(self, slots: int) -> None:
        have = self.path.stat().st_size if self.path.exists() else 0
        if have < slots * self.dim * BYTES:
            raise CorruptStoreError(
                f"{self.path} holds {have // (self.dim * BYTES)} rows, {slots} are published: "
                "restore it from a backup, or index the pictures into a new collection"
            )
