"""DATA_DIR/<collection>/ids.i64: the id of the picture in each slot, so that a search need not ask for it.

The database knows the same; a file that is missing or short is filled from it. Bytes behind the published
slots are the leftover of a write that never committed. 0 stands in slots that were reclaimed before there was
such a file.

Dimension key   N slots
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from indexer.disk.files import sync_folder, writing
from indexer.disk.mapping import map_beyond
from indexer.types import ImageId

NAME = "ids.i64"
BYTES = 8
LEAST_ROOM = 1 << 16  # slots: address space, not memory
UNKNOWN = 0


class IdFile:
    """Writing at the end, and memory-mapped reading."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._mapped_N = np.empty(0, np.int64)

    def covered(self) -> int:
        """How many slots it has ids for."""
        return self.path.stat().st_size // BYTES if self.path.exists() else 0

    def write(self, ids: "Sequence[ImageId] | Int64[ndarray, ' n']", at: int) -> None:
        """Put the ids of slots `at`, `at` + 1, … and return when they are on disk; those before are there."""
        assert at <= self.covered(), "a hole would be read as ids"
        with writing(self.path):
            created = not self.path.exists()
            with self.path.open("r+b" if not created else "x+b") as file:
                file.seek(at * BYTES)
                file.write(np.asarray(ids, "<i8").tobytes())
                file.flush()
                os.fsync(file.fileno())
            if created:
                sync_folder(self.path.parent)

    def read(self, slots: int) -> Int64[ndarray, " n"]:
        """The ids of the first `slots` slots, which are published and written."""
        if slots == 0:
            return np.empty(0, np.int64)
        if len(self._mapped_N) < slots:
            room = max(2 * slots, LEAST_ROOM)
            self._mapped_N = map_beyond(self.path, room * BYTES).view("<i8")
        return self._mapped_N[:slots]
