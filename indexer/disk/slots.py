"""Slots and rows. A slot is for ever: what a picture and its vector are known by. A row is where it lies now.

Until space is reclaimed, row = slot. Reclaiming writes the rows that are still needed into a new *file set*:
a vector file and a sorted list of its slots. Rows appended later follow in the order of their slots.

Dimension key   N slots or rows
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from indexer.errors import CorruptStoreError

Slots = Sequence[int] | Int64[ndarray, " n"]


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Rows [0, len(kept_N)) hold slots `kept_N`, rising; row len(kept_N) + i holds slot `next_slot` + i."""

    kept_N: Int64[ndarray, " n"]
    next_slot: int

    @classmethod
    def load(cls, path: Path, count: int, next_slot: int) -> "SlotMap":
        """CorruptStoreError when the file does not hold `count` slots."""
        if count == 0:
            return cls(np.empty(0, np.int64), next_slot)
        have = path.stat().st_size if path.exists() else -1
        if have != 8 * count:
            raise CorruptStoreError(
                f"{path} has {have} bytes: expected {8 * count}; restore it from a backup"
            )
        return cls(np.memmap(path, "<i8", "r", shape=(count,)), next_slot)

    def row_count(self, slots: int) -> int:
        """How many rows the slots below `slots` have."""
        if slots >= self.next_slot:
            return len(self.kept_N) + slots - self.next_slot
        return int(np.searchsorted(self.kept_N, slots))

    def slots_of(self, rows: Slots) -> Int64[ndarray, " n"]:
        rows_N = np.asarray(rows, np.int64)
        if len(self.kept_N) == 0:
            return rows_N + self.next_slot
        behind = rows_N - len(self.kept_N)
        kept = self.kept_N[np.minimum(rows_N, len(self.kept_N) - 1)]
        return np.where(behind < 0, kept, behind + self.next_slot)

    def rows_of(self, slots: Slots) -> Int64[ndarray, " n"]:
        """-1 for a slot whose row was reclaimed."""
        slots_N = np.asarray(slots, np.int64)
        if len(self.kept_N) == 0:
            return np.where(slots_N >= self.next_slot, slots_N - self.next_slot, -1)
        at = np.minimum(np.searchsorted(self.kept_N, slots_N), len(self.kept_N) - 1)
        kept = np.where(self.kept_N[at] == slots_N, at, -1)
        return np.where(slots_N >= self.next_slot, slots_N - self.next_slot + len(self.kept_N), kept)
