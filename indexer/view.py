"""One generation of a collection, for reading: what a query sees does not change while it runs.

Dimension key   N pictures, D embedding, K results
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Literal

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int64
from numpy import ndarray

from indexer.bitmap import Bitmap
from indexer.catalog import Catalog
from indexer.database import Database
from indexer.faiss_index import ExactScan, Snapshot
from indexer.filters import Filter
from indexer.types import ImageId, ImageRow

EXACT_SHARE = 0.05  # of the collection: fewer eligible pictures than this are scanned, never approximated
BLOCK = 65_536  # rows turned into float32 at a time
MOST_CACHED = 64  # filters, and columns, of one view

Slots = Sequence[int] | Int64[ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Matches:
    """`scores_K` falling, equal ones by rising slot. `candidates` pictures were scored exactly.

    `mode`: `exact` when those are all the eligible ones, `top_k` when an approximate index chose them.
    """

    scores_K: Float32[ndarray, " k"]
    slots_K: Int64[ndarray, " k"]
    mode: Literal["exact", "top_k"]
    candidates: int


class View:
    """Slots [0, slots) less `dead`. Pictures added later are not in it; a picture deleted later may still be
    found by `search`, and is then left out by `rows_at`.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        rows_ND: Float16[ndarray, "n d"],
        alive: Bitmap,
        snapshot: Snapshot | None,
        generation: int,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._rows_ND = rows_ND
        self._alive = alive
        self._snapshot = snapshot
        self.generation = generation
        self.slots = len(rows_ND)
        self.images = alive.count()
        self.built = 0 if snapshot is None else snapshot.built
        self._lock = Lock()
        self._filters: dict[str, Bitmap] = {}
        self._columns: dict[str, Float64[ndarray, " n"]] = {}

    @cached_property
    def _scan(self) -> ExactScan:
        return ExactScan(self._rows_ND)

    def live(self) -> Bitmap:
        return self._alive

    def bitmap(self, slots: Slots) -> Bitmap:
        return Bitmap.of(slots, self.slots)

    def select(self, condition: Filter) -> Bitmap:
        """Live pictures for which `condition` holds."""
        key = repr(condition)  # not the condition itself: to Python, True equals 1
        with self._lock:
            found = self._filters.get(key)
        if found is None:
            with self._database.read() as connection:
                slots = self._catalog.slots_where(connection, condition)
            found = self.bitmap(slots) & self._alive
            with self._lock:
                if len(self._filters) >= MOST_CACHED:
                    self._filters.clear()
                self._filters[key] = found
        return found

    def search(
        self,
        query_D: Float32[ndarray, " d"],
        k: int,
        *,
        allow: Bitmap | None = None,
        exact: bool = False,
        recall: float = 0.95,
    ) -> Matches:
        """The `k` live, allowed pictures with the largest inner product, best first.

        Few eligible pictures, or no index: all are scored. Otherwise the index proposes candidates for the
        slots it covers, an exact scan finds those behind it, and all candidates are scored exactly.
        """
        eligible = self._alive if allow is None else allow & self._alive
        count = eligible.count()
        query_D = np.ascontiguousarray(query_D, np.float32)
        small = count <= EXACT_SHARE * self.slots
        if self._snapshot is None or exact or small or k >= self.built // 2:
            slots_K = self._scan.search(query_D, _with_ties(k), eligible)
            return self._scored(query_D, slots_K, k, "exact", count)
        covered_K = self._snapshot.search(query_D, k, eligible.below(self.built), recall=recall)
        tail_K = self._scan.search(query_D, k, eligible, begin=self.built)
        slots_K = np.concatenate([covered_K, tail_K])
        return self._scored(query_D, slots_K, k, "top_k", len(slots_K))

    def project(
        self, direction_D: Float32[ndarray, " d"], *, allow: Bitmap | None = None
    ) -> tuple[Float32[ndarray, " n"], Int64[ndarray, " n"]]:
        """Inner product of every live, allowed picture with `direction_D`, and its slot; by rising slot."""
        eligible = self._alive if allow is None else allow & self._alive
        slots_N = eligible.slots()
        return self._inner(np.asarray(direction_D, np.float32), slots_N), slots_N

    def vectors_at(self, slots: Slots) -> Float32[ndarray, "n d"]:
        """Stored vectors, in the order of `slots`."""
        return self._rows_ND[np.asarray(slots, np.int64)].astype(np.float32)

    def sample(self, most: int) -> Float32[ndarray, "n d"]:
        """At most `most` live vectors, evenly spread over the slots; always the same for one view."""
        slots_N = self._alive.slots()
        step = max(1, -(-len(slots_N) // most))
        return self.vectors_at(slots_N[::step])

    def rows_at(self, slots: Slots) -> list[ImageRow]:
        """In the order of `slots`; pictures deleted or updated since this view was made are left out."""
        with self._database.read() as connection:
            return self._catalog.by_slots(connection, [int(slot) for slot in slots])

    def rows(self, ids: Sequence[ImageId]) -> list[ImageRow]:
        """In the order of `ids`; NotFoundError names the first that does not exist."""
        with self._database.read() as connection:
            return self._catalog.by_ids(connection, ids)

    def row(self, image_id: ImageId) -> ImageRow:
        return self.rows([image_id])[0]

    def scroll(self, *, after: int = 0, limit: int = 100) -> list[ImageRow]:
        """Pictures by rising id, from the first whose id is larger than `after`."""
        with self._database.read() as connection:
            return self._catalog.after_id(connection, after, limit)

    def column(self, field: str) -> Float64[ndarray, " n"]:
        """The number in `field` for every slot; NaN where a picture has none."""
        with self._lock:
            values_N = self._columns.get(field)
        if values_N is None:
            values_N = np.full(self.slots, np.nan)
            with self._database.read() as connection:
                for slot, value in self._catalog.numbers(connection, field):
                    if slot < self.slots:
                        values_N[slot] = value
            with self._lock:
                if len(self._columns) >= MOST_CACHED:
                    self._columns.clear()
                self._columns[field] = values_N
        return values_N

    def _scored(
        self,
        query_D: Float32[ndarray, " d"],
        slots_N: Int64[ndarray, " n"],
        k: int,
        mode: Literal["exact", "top_k"],
        candidates: int,
    ) -> Matches:
        """The `k` best of `slots_N` by their exact scores: one formula for every way of finding them."""
        scores_N = self._inner(query_D, slots_N)
        order = np.lexsort((slots_N, -scores_N))[:k]
        return Matches(scores_N[order], slots_N[order], mode, candidates)

    def _inner(
        self, query_D: Float32[ndarray, " d"], slots_N: Int64[ndarray, " n"]
    ) -> Float32[ndarray, " n"]:
        scores_N = np.empty(len(slots_N), np.float32)
        for start in range(0, len(slots_N), BLOCK):
            block = slots_N[start : start + BLOCK]
            scores_N[start : start + BLOCK] = self._rows_ND[block].astype(np.float32) @ query_D
        return scores_N


def _with_ties(k: int) -> int:
    """A few more than asked for, so that pictures with equal scores at the end can be put in order."""
    return k + 16
