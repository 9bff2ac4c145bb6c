"""Which picture lies in a row of a snapshot, and the other way round: the database's answers, remembered."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.disk.slots import SlotMap
from indexer.errors import ConflictError, NotFoundError
from indexer.tables.database import Database
from indexer.tables.images import Catalog, Stored
from indexer.types import IdList, ImageId, ImageRow

MOST_REMEMBERED = 20_000  # pictures; some 30 MB with long captions
FETCHED = 128  # of so many rows, what is stored is read together with the id: it is asked for next


class KnownRows:
    """Pictures of the rows `alive`. What it has read once stays true, so threads may share it."""

    def __init__(self, database: Database, catalog: Catalog, slot_map: SlotMap, alive: Bitmap) -> None:
        self._database = database
        self._catalog = catalog
        self._map = slot_map
        self._alive = alive
        self._memory = _Memory({}, {}, {})

    def ids_of(self, rows_K: Int64[ndarray, " k"]) -> list[ImageId]:
        """Of live rows, in their order.

        Raises:
            ConflictError: The snapshot is so old that the versions which it shows have been reclaimed.
        """
        rows = rows_K.tolist()
        id_at = self._memory.id_at
        lacking = [row for row in rows if row not in id_at]
        fetched = self._fetch(lacking) if lacking else {}
        try:
            return [fetched[row] if row in fetched else id_at[row] for row in rows]
        except KeyError:
            raise ConflictError(
                "this version of the collection is no longer kept: ask again without a cursor"
            ) from None

    def rows_of(self, ids: IdList, *, strict: bool = False) -> Int64[ndarray, " n"]:
        """Where `ids` lie, in their order; -1 for one that is not in the snapshot, or NotFoundError."""
        wanted = [int(i) for i in ids]
        row_of = self._memory.row_of
        lacking = [i for i in wanted if i not in row_of]
        fetched = {int(image.id): row for row, image in self._versions(lacking)} if lacking else {}
        rows_N = np.array([fetched[i] if i in fetched else row_of.get(i, -1) for i in wanted], np.int64)
        if strict and (rows_N < 0).any():
            raise NotFoundError(f"no image with id {wanted[int(np.argmin(rows_N))]}")
        return rows_N

    def images(self, ids: IdList, *, strict: bool = False) -> list[ImageRow]:
        """What is stored of `ids`, in their order: without those that are not there, or NotFoundError."""
        wanted = [int(i) for i in ids]
        images = self._memory.images
        lacking = [i for i in wanted if i not in images]
        fetched = {int(image.id): image for _, image in self._versions(lacking)} if lacking else {}
        found = [fetched.get(i) or images.get(i) for i in wanted]
        if strict and None in found:
            raise NotFoundError(f"no image with id {wanted[found.index(None)]}")
        return [image for image in found if image is not None]

    def by_rising_id(self, after: int, block: int) -> Iterator[tuple[int, ImageRow]]:
        """(row, picture) from the first whose id is larger than `after`."""
        until: int | None = after
        while until is not None:
            after = until
            with self._database.read() as connection:
                page = self._catalog.rows_after(connection, after, block)
                until = page[-1].row.id if len(page) == block else None
                past = self._catalog.past_between(connection, after, until)
            yield from sorted(self._alive_of([*page, *past]), key=lambda one: one[1].id)

    def _fetch(self, rows: list[int]) -> dict[int, ImageId]:
        slots = self._map.slots_of(rows).tolist()
        row_at = dict(zip(slots, rows, strict=True))
        with self._database.read() as connection:
            if len(slots) > FETCHED:
                ids = self._catalog.ids_of(connection, slots)
                return {row_at[slot]: image_id for slot, image_id in ids.items()}
            found = self._catalog.by_slots(connection, slots)
        self._memory = self._memory.with_images([(row_at[slot], image) for slot, image in found.items()])
        return {row_at[slot]: image.id for slot, image in found.items()}

    def _versions(self, ids: list[int]) -> list[tuple[int, ImageRow]]:
        """(row, picture) of the version of each of `ids` that the snapshot holds, if any."""
        with self._database.read() as connection:
            found = self._alive_of(list(self._catalog.versions(connection, ids)))
        self._memory = self._memory.with_images(found)
        return found

    def _alive_of(self, versions: Sequence[Stored]) -> list[tuple[int, ImageRow]]:
        """(row, picture) of those that lie in live rows of the snapshot."""
        rows_N = self._map.rows_of([stored.slot for stored in versions])
        here_N = (rows_N >= 0) & (rows_N < self._alive.size)
        here_N[here_N] = self._alive.has(rows_N[here_N])
        return [(int(rows_N[n]), versions[n].row) for n in np.flatnonzero(here_N).tolist()]


@dataclass(frozen=True, slots=True)
class _Memory:
    """Replaced as a whole when it is full, so that a reader's part of it stays as it is."""

    id_at: dict[int, ImageId]
    row_of: dict[int, int]
    images: dict[int, ImageRow]

    def with_images(self, found: Iterable[tuple[int, ImageRow]]) -> "_Memory":
        memory = self if len(self.id_at) < MOST_REMEMBERED else _Memory({}, {}, {})
        for row, image in found:
            memory.id_at[row] = image.id
            memory.row_of[image.id] = row
            memory.images[image.id] = image
        return memory
