"""Image rows of one collection: every statement about tables `image` and `tombstone` is here."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexer.errors import NotFoundError
from indexer.filters.language import COLUMNS
from indexer.tables.database import Connection
from indexer.tables.metadata import storable
from indexer.types import ImageId, ImageRow, JSONValue, Metadata, NewImage, Slot

# ruff: noqa: S608 - statements are put together from constants; values are always bound
COLUMNS_OF = "id, slot, uri, sha256, size, mtime_ns, width, height, format, taken_at, added_at, metadata"
SELECT = f"SELECT {COLUMNS_OF} FROM image WHERE collection = ?1 AND "
# With a +, SQLite looks pictures up by their id, where it would else walk through the whole collection.
SELECT_BY_ID = f"SELECT {COLUMNS_OF} FROM image WHERE +collection = ?1 AND "
# json_each binds one parameter however many values there are.
BY_SLOT = SELECT + "slot IN (SELECT value FROM json_each(?2))"
BY_ID = SELECT_BY_ID + "id IN (SELECT value FROM json_each(?2))"
BY_SHA256 = SELECT + "sha256 IN (SELECT value FROM json_each(?2)) ORDER BY id"
AFTER_ID = SELECT_BY_ID + "id > ?2 ORDER BY id LIMIT ?3"
UPSERT = """
    INSERT INTO image (collection, slot, uri, sha256, size, mtime_ns, width, height, format, taken_at,
                       added_at, metadata)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (collection, uri) DO UPDATE SET
        slot = excluded.slot, sha256 = excluded.sha256, size = excluded.size,
        mtime_ns = excluded.mtime_ns, width = excluded.width, height = excluded.height,
        format = excluded.format, taken_at = excluded.taken_at, metadata = excluded.metadata
    RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What tells whether a file has changed since it was indexed."""

    id: ImageId
    size: int
    mtime_ns: int
    sha256: str


class Catalog:
    """Statements, not transactions: each method runs on a connection that its caller holds."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def upsert(
        self, connection: Connection, images: Sequence[NewImage], first_slot: int, generation: int
    ) -> list[ImageId]:
        """Rows for `images` in slots from `first_slot`; the slots that they leave become tombstones."""
        self._bury(
            connection,
            generation,
            "collection = ? AND uri IN (SELECT value FROM json_each(?))",
            [new.uri for new in images],
        )
        now = time.time()
        ids: list[ImageId] = []
        for slot, image in enumerate(images, start=first_slot):
            (image_id,) = connection.execute(
                UPSERT,
                (
                    *(self._collection, slot, image.uri, image.sha256, image.size),
                    image.mtime_ns,
                    *(image.width, image.height, image.format, image.taken_at, now),
                    _json(image.metadata),
                ),
            ).fetchone()
            ids.append(ImageId(image_id))
        return ids

    def delete(self, connection: Connection, ids: Sequence[int], generation: int) -> list[ImageId]:
        """Remove rows; the ids that existed, rising."""
        rows = connection.execute(
            "SELECT id FROM image WHERE +collection = ? AND id IN (SELECT value FROM json_each(?))"
            " ORDER BY id",
            (self._collection, json.dumps([int(i) for i in ids])),
        ).fetchall()
        found = [ImageId(row[0]) for row in rows]
        self._bury(
            connection, generation, "+collection = ? AND id IN (SELECT value FROM json_each(?))", found
        )
        connection.execute(
            "DELETE FROM image WHERE +collection = ? AND id IN (SELECT value FROM json_each(?))",
            (self._collection, json.dumps(found)),
        )
        return found

    def stamp(self, connection: Connection, image_id: int, size: int, mtime_ns: int) -> None:
        """Remember what the file looked like; nothing that a search can see."""
        connection.execute(
            "UPDATE image SET size = ?, mtime_ns = ? WHERE collection = ? AND id = ?",
            (size, mtime_ns, self._collection, image_id),
        )

    def rewrite(self, connection: Connection, row: ImageRow, slot: int, generation: int) -> None:
        """Store `row` as it is given, in `slot`; the slot that it had becomes a tombstone."""
        self._bury(
            connection, generation, "+collection = ? AND id IN (SELECT value FROM json_each(?))", [row.id]
        )
        connection.execute(
            "UPDATE image SET slot = ?, uri = ?, size = ?, mtime_ns = ?, taken_at = ?, metadata = ?"
            " WHERE collection = ? AND id = ?",
            (
                *(slot, row.uri, row.size, row.mtime_ns, row.taken_at),
                _json(row.metadata),
                *(self._collection, row.id),
            ),
        )

    def known(self, connection: Connection, uris: Sequence[str] | None) -> dict[str, Known]:
        """All pictures, or those of `uris`, by uri."""
        among = "" if uris is None else " AND uri IN (SELECT value FROM json_each(?))"
        rows = connection.execute(
            f"SELECT uri, id, size, mtime_ns, sha256 FROM image WHERE collection = ?{among}",
            (self._collection, *(() if uris is None else (json.dumps(list(uris)),))),
        )
        return {uri: Known(ImageId(i), size, mtime_ns, sha256) for uri, i, size, mtime_ns, sha256 in rows}

    def by_slots(self, connection: Connection, slots: Sequence[int]) -> list[ImageRow]:
        """In the order of `slots`; a slot whose picture is gone is left out."""
        rows = connection.execute(BY_SLOT, (self._collection, json.dumps([int(s) for s in slots])))
        found = {row.slot: row for row in map(_row, rows)}
        return [found[Slot(int(slot))] for slot in slots if int(slot) in found]

    def by_ids(self, connection: Connection, ids: Sequence[int]) -> list[ImageRow]:
        """In the order of `ids`. NotFoundError names the first that is absent."""
        found = self.find_by_ids(connection, ids)
        for image_id in ids:
            if image_id not in found:
                raise NotFoundError(f"no image with id {image_id}")
        return [found[ImageId(image_id)] for image_id in ids]

    def find_by_ids(self, connection: Connection, ids: Sequence[int]) -> dict[ImageId, ImageRow]:
        """Those of `ids` that there are."""
        rows = connection.execute(BY_ID, (self._collection, json.dumps([int(i) for i in ids])))
        return {row.id: row for row in map(_row, rows)}

    def slots_of(self, connection: Connection, ids: Sequence[int]) -> list[int]:
        """Where those of `ids` stand that there are."""
        rows = connection.execute(
            "SELECT slot FROM image WHERE +collection = ? AND id IN (SELECT value FROM json_each(?))",
            (self._collection, json.dumps([int(i) for i in ids])),
        )
        return [slot for (slot,) in rows]

    def newest(self, connection: Connection) -> int:
        """The largest id that a picture has, of any collection; who is added later gets a larger one."""
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM image").fetchone()
        return int(newest)

    def added(self, connection: Connection, first: int, end: int, *, after: int) -> list[int]:
        """Which of the slots [first, end) hold pictures with an id larger than `after`."""
        # With the +, it is read from the index of the slots alone.
        rows = connection.execute(
            "SELECT slot FROM image WHERE collection = ? AND slot >= ? AND slot < ? AND +id > ?",
            (self._collection, first, end, after),
        )
        return [slot for (slot,) in rows]

    def by_sha256(self, connection: Connection, digests: Sequence[str]) -> dict[str, list[ImageRow]]:
        rows = connection.execute(BY_SHA256, (self._collection, json.dumps(list(digests))))
        found: dict[str, list[ImageRow]] = {}
        for row in map(_row, rows):
            found.setdefault(row.sha256, []).append(row)
        return found

    def after_id(self, connection: Connection, image_id: int, limit: int) -> list[ImageRow]:
        return [_row(row) for row in connection.execute(AFTER_ID, (self._collection, image_id, limit))]

    def ids_at(self, connection: Connection, slots: Sequence[int]) -> list[ImageId]:
        """Ids of the pictures in `slots`, rising."""
        rows = connection.execute(
            "SELECT id FROM image WHERE collection = ? AND slot IN (SELECT value FROM json_each(?))"
            " ORDER BY id",
            (self._collection, json.dumps([int(slot) for slot in slots])),
        )
        return [ImageId(image_id) for (image_id,) in rows]

    def values(
        self, connection: Connection, field: str, first: int, end: int
    ) -> Iterator[tuple[int, JSONValue]]:
        """(slot, value) of pictures in slots [first, end) that have `field`: a column, or a metadata key."""
        if field in COLUMNS:
            sql = f"SELECT slot, {field} FROM image WHERE collection = ? AND slot >= ? AND slot < ?"
            yield from connection.execute(sql, (self._collection, first, end))
            return
        path = "$" + "".join(f'."{step}"' for step in field.split("."))
        rows = connection.execute(
            "SELECT slot, json_type(metadata, ?2), json_extract(metadata, ?2) FROM image"
            " WHERE collection = ?1 AND slot >= ?3 AND slot < ?4"
            # NaN, which an older version stored, is no JSON: such a row must not take the filters of all.
            " AND CASE WHEN json_valid(metadata) THEN json_type(metadata, ?2) <> 'null' END",
            (self._collection, path, first, end),
        )
        for slot, kind, value in rows:
            if kind in ("true", "false"):
                yield slot, kind == "true"
            elif kind in ("array", "object"):
                yield slot, json.loads(value)
            else:
                yield slot, value

    def forget_tombstones(self, connection: Connection, slots: Sequence[int]) -> None:
        """Their rows are gone: nothing can find them any more."""
        connection.execute(
            "DELETE FROM tombstone WHERE collection = ? AND slot IN (SELECT value FROM json_each(?))",
            (self._collection, json.dumps([int(slot) for slot in slots])),
        )

    def tombstones(self, connection: Connection, *, after: int, until: int) -> list[int]:
        """Slots buried by generations in (after, until]."""
        rows = connection.execute(
            "SELECT slot FROM tombstone WHERE collection = ? AND generation > ? AND generation <= ?",
            (self._collection, after, until),
        )
        return [slot for (slot,) in rows]

    def _bury(
        self, connection: Connection, generation: int, condition: str, values: Sequence[str | int]
    ) -> None:
        connection.execute(
            "INSERT INTO tombstone (collection, slot, generation)"
            f" SELECT collection, slot, ? FROM image WHERE {condition}",
            (generation, self._collection, json.dumps(list(values))),
        )


def _json(metadata: Metadata) -> str:
    return json.dumps(storable(metadata), ensure_ascii=False, allow_nan=False)


def _row(row: tuple[object, ...]) -> ImageRow:
    id_, slot, uri, sha256, size, mtime_ns, width, height, format_, taken_at, added_at, metadata = row
    stored: dict[str, JSONValue] = json.loads(str(metadata))
    return ImageRow(
        id=ImageId(_int(id_)),
        slot=Slot(_int(slot)),
        uri=str(uri),
        sha256=str(sha256),
        size=_int(size),
        mtime_ns=_int(mtime_ns),
        width=_int(width),
        height=_int(height),
        format=str(format_),
        taken_at=None if taken_at is None else _float(taken_at),
        added_at=_float(added_at),
        metadata=stored,
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
