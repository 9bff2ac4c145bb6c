"""Which picture lies in a row of a snapshot, and the other way round: the database's answers, remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.disk.slots import SlotMap
from indexer.errors import NotFoundError
from indexer.tables.database import Database
from indexer.tables.images import Catalog, Stored
from indexer.types import IdList, ImageRow

MOST_REMEMBERED = 20_000  # pictures; some 30 MB with long captions


class KnownRows:
    """Pictures of the rows `alive`. What it has read once stays true, so threads may share it."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        slot_map: SlotMap,
        alive: Bitmap,
        id_N: Int64[ndarray, " n"],
    ) -> None:
        """`id_N` has the id of each slot."""
        self._database = database
        self._catalog = catalog
        self._map = slot_map
        self._alive = alive
        self._id_N = id_N
        self._memory = _Memory({}, {})

    def ids_of(self, rows_K: Int64[ndarray, " k"]) -> Int64[ndarray, " k"]:
        """Of live rows, in their order."""
        ids_K = self._id_N[self._map.slots_of(rows_K)]
        if len(rows_K) <= MOST_REMEMBERED:
            self._memory = self._memory.with_rows(ids_K.tolist(), rows_K.tolist())
        return ids_K

    def rows_of(self, ids: IdList, *, strict: bool = False) -> Int64[ndarray, " n"]:
        """Where `ids` lie, in their order; -1 for one that is not in the snapshot, or NotFoundError."""
        wanted = _numbers(ids)
        row_of = self._memory.row_of
        lacking = [i for i in wanted if i not in row_of]
        fetched = {int(image.id): row for row, image in self._versions(lacking)} if lacking else {}
        rows_N = np.array([fetched[i] if i in fetched else row_of.get(i, -1) for i in wanted], np.int64)
        if strict and (rows_N < 0).any():
            raise NotFoundError(f"no image with id {wanted[int(np.argmin(rows_N))]}")
        return rows_N

    def images(self, ids: IdList, *, strict: bool = False) -> list[ImageRow]:
        """What is stored of `ids`, in their order: without those that are not there, or NotFoundError."""
        wanted = _numbers(ids)
        memory = self._memory
        lacking = [i for i in wanted if i not in memory.images]
        fetched = self._fetch(lacking, memory.row_of) if lacking else {}
        found = [fetched[i] if i in fetched else memory.images.get(i) for i in wanted]
        if strict and None in found:
            raise NotFoundError(f"no image with id {wanted[found.index(None)]}")
        return [image for image in found if image is not None]

    def _fetch(self, ids: list[int], row_of: dict[int, int]) -> dict[int, ImageRow]:
        """By id. Where their rows are known, they are read by slot, which takes one look at most."""
        if not all(i in row_of for i in ids):
            return {int(image.id): image for _, image in self._versions(ids)}
        slots = self._map.slots_of([row_of[i] for i in ids]).tolist()
        with self._database.read() as connection:
            at_slot = self._catalog.by_slots(connection, slots)
        found = {int(image.id): image for image in at_slot.values()}
        self._memory = self._memory.with_images(found)
        return found

    def _versions(self, ids: list[int]) -> list[tuple[int, ImageRow]]:
        """(row, picture) of the version of each of `ids` that the snapshot holds, if any."""
        with self._database.read() as connection:
            found = self._alive_of(list(self._catalog.versions(connection, ids)))
        self._memory = self._memory.with_rows([i.id for _, i in found], [row for row, _ in found])
        self._memory = self._memory.with_images({image.id: image for _, image in found})
        return found

    def _alive_of(self, versions: Sequence[Stored]) -> list[tuple[int, ImageRow]]:
        """(row, picture) of those that lie in live rows of the snapshot."""
        rows_N = self._map.rows_of([stored.slot for stored in versions])
        here_N = (rows_N >= 0) & (rows_N < self._alive.size)
        here_N[here_N] = self._alive.has(rows_N[here_N])
        return [(int(rows_N[n]), versions[n].row) for n in np.flatnonzero(here_N).tolist()]


def _numbers(ids: IdList) -> list[int]:
    found: list[int] = ids.tolist() if isinstance(ids, np.ndarray) else [int(i) for i in ids]
    return found


@dataclass(frozen=True, slots=True)
class _Memory:
    """Replaced as a whole when it is full, so that a reader's part of it stays as it is."""

    row_of: dict[int, int]
    images: dict[int, ImageRow]

    def with_rows(self, ids: Sequence[int], rows: Sequence[int]) -> "_Memory":
        memory = self if len(self.row_of) < MOST_REMEMBERED else _Memory({}, self.images)
        memory.row_of.update(zip(ids, rows, strict=True))
        return memory

    def with_images(self, found: Mapping[int, ImageRow]) -> "_Memory":
        memory = self if len(self.images) < MOST_REMEMBERED else _Memory(self.row_of, {})
        memory.images.update(found)
        return memory
