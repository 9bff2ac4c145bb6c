"""DATA_DIR/<collection>/vectors.f16: float16 rows, appended, never changed.

The database says how many rows are published. Bytes behind them are the leftover of a write that never
committed; the next write goes over them. Each file set (see `indexer.disk.slots`) has a file of its own:
`vectors.f16` until space is reclaimed for the first time, then `vectors-1.f16`, …

Dimension key   N rows, D embedding
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32
from numpy import ndarray

from indexer.disk.faults import reached
from indexer.disk.files import sync_folder, writing
from indexer.disk.mapping import map_beyond
from indexer.errors import CorruptStoreError, InvalidInputError

BYTES = 2  # of a float16
LEAST_ROOM = 1 << 26  # bytes of address space, not of memory


def of_file_set(name: str, file_set: int) -> str:
    """The file `name` of a file set: `vectors.f16`, `vectors-1.f16`, …"""
    stem, _, ending = name.partition(".")
    return name if file_set == 0 else f"{stem}-{file_set}.{ending}"


def to_rows(vectors_ND: Float32[ndarray, "n d"], dim: int) -> Float16[ndarray, "n d"]:
    """Vectors as they are stored.

    Raises:
        InvalidInputError: Wrong length, or a number that is not finite, also after rounding to float16.
    """
    if vectors_ND.ndim != 2 or vectors_ND.shape[1] != dim:
        raise InvalidInputError(f"vectors have shape {vectors_ND.shape}: expected (n, {dim})")
    with np.errstate(over="ignore"):
        rows_ND = vectors_ND.astype("<f2")
    if not np.isfinite(rows_ND).all():
        raise InvalidInputError("a vector holds a number that is not finite, or too large for float16")
    return rows_ND


class VectorFile:
    """Appending and memory-mapped reading of one file set."""

    def __init__(self, folder: Path, dim: int, file_set: int) -> None:
        self.path = folder / of_file_set("vectors.f16", file_set)
        self.dim = dim

    def write(self, rows_ND: Float16[ndarray, "n d"], at: int) -> None:
        """Put rows at `at`, `at` + 1, … and return when they are on disk.

        Raises:
            CorruptStoreError: Published rows are missing before `at`.
            StoreError: The disk is full or cannot be written.
        """
        self.check(at)
        with writing(self.path):
            self._write(rows_ND, at)
        reached("synced")

    def _write(self, rows_ND: Float16[ndarray, "n d"], at: int) -> None:
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

    def read(self, count: int) -> Float16[ndarray, "n d"]:
        """The first `count` rows, mapped, not read. CorruptStoreError when the file is shorter."""
        self.check(count)
        if count == 0:
            return np.empty((0, self.dim), np.float16)
        return np.memmap(self.path, np.float16, "r", shape=(count, self.dim))

    def read_on(self, count: int) -> Float16[ndarray, "n d"]:
        """At least the first `count` rows, and room for what is appended: those must not be read before."""
        self.check(count)
        room = max(2 * count, LEAST_ROOM // (self.dim * BYTES))
        return map_beyond(self.path, room * self.dim * BYTES).view(np.float16).reshape(room, self.dim)

    def check(self, count: int) -> None:
        have = self.path.stat().st_size if self.path.exists() else 0
        if have < count * self.dim * BYTES:
            raise CorruptStoreError(
                f"{self.path} holds {have // (self.dim * BYTES)} rows, {count} are published: "
                "restore it from a backup, or index the pictures into a new collection"
            )
