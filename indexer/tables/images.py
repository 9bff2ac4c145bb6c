"""Image rows of one collection: every statement about tables `image`, `past_image` and `tombstone` is here.

Table `image` holds the newest version of each picture. A version that is replaced or deleted moves to
`past_image`, so that a snapshot that was taken before still reads it.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from indexer.errors import NotFoundError
from indexer.filters.language import COLUMNS
from indexer.tables.database import Connection
from indexer.tables.metadata import storable
from indexer.types import ImageId, ImageRow, JSONValue, Known, Metadata, NewImage

# ruff: noqa: S608 - statements are put together from constants; values are always bound
COLUMNS_OF = "id, slot, uri, sha256, size, mtime_ns, width, height, format, taken_at, added_at, metadata"
SELECT = f"SELECT {COLUMNS_OF} FROM image WHERE collection = ?1 AND "
# With a +, SQLite looks pictures up by their id, where it would else walk through the whole collection.
SELECT_BY_ID = f"SELECT {COLUMNS_OF} FROM image WHERE +collection = ?1 AND "
SELECT_PAST = f"SELECT {COLUMNS_OF} FROM past_image WHERE +collection = ?1 AND "
# json_each binds one parameter however many values there are.
IN_2 = "IN (SELECT value FROM json_each(?2))"
BY_SLOT, PAST_BY_SLOT = (
    f"SELECT {COLUMNS_OF} FROM {table} WHERE collection = ?1 AND slot {IN_2}"
    for table in ("image", "past_image")
)
BY_ID, PAST_BY_ID = f"{SELECT_BY_ID}id {IN_2}", f"{SELECT_PAST}id {IN_2}"
BY_SHA256 = f"{SELECT}sha256 {IN_2} ORDER BY id"
AFTER_ID = f"{SELECT_BY_ID}id > ?2 ORDER BY id LIMIT ?3"
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
class Stored:
    """A version of a picture, and the slot where its vector lies."""

    slot: int
    row: ImageRow


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

    def by_slots(self, connection: Connection, slots: Sequence[int]) -> dict[int, ImageRow]:
        """Versions by the slot that they have or had; one whose past was deleted is left out."""
        wanted = (self._collection, json.dumps([int(slot) for slot in slots]))
        found = {_int(row[1]): _image(row) for row in connection.execute(BY_SLOT, wanted)}
        if len(found) < len(slots):
            found |= {_int(row[1]): _image(row) for row in connection.execute(PAST_BY_SLOT, wanted)}
        return found

    def ids_between(self, connection: Connection, first: int, end: int) -> Iterator[tuple[int, ImageId]]:
        """(slot, id) of the versions in slots [first, end)."""
        parts = (
            f"SELECT slot, id FROM {table} WHERE collection = ?1 AND slot >= ?2 AND slot < ?3"
            for table in ("image", "past_image")
        )
        yield from connection.execute(" UNION ALL ".join(parts), (self._collection, first, end))

    def by_ids(self, connection: Connection, ids: Sequence[int]) -> list[Stored]:
        """The newest versions, in the order of `ids`. NotFoundError names the first that is absent."""
        found = self.find_by_ids(connection, ids)
        for image_id in ids:
            if image_id not in found:
                raise NotFoundError(f"no image with id {image_id}")
        return [found[ImageId(image_id)] for image_id in ids]

    def find_by_ids(self, connection: Connection, ids: Iterable[int]) -> dict[ImageId, Stored]:
        """The newest versions of those of `ids` that there are."""
        rows = connection.execute(BY_ID, (self._collection, json.dumps([int(i) for i in ids])))
        return {stored.row.id: stored for stored in map(_stored, rows)}

    def versions(self, connection: Connection, ids: Iterable[int]) -> Iterator[Stored]:
        """Every version of `ids` that is still known, the newest ones first."""
        wanted = (self._collection, json.dumps([int(i) for i in ids]))
        for statement in (BY_ID, PAST_BY_ID):
            yield from map(_stored, connection.execute(statement, wanted))

    def newest(self, connection: Connection) -> int:
        """The largest id that a picture has, of any collection; one that is added later gets a larger one."""
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM image").fetchone()
        return int(newest)

    def edited(self, connection: Connection, first: int, end: int, *, until: int) -> dict[ImageId, int]:
        """Pictures with ids up to `until` whose newest version is in the slots [first, end), by id."""
        # With the +, it is read from the index of the slots alone.
        rows = connection.execute(
            "SELECT id, slot FROM image WHERE collection = ? AND slot >= ? AND slot < ? AND +id <= ?",
            (self._collection, first, end, until),
        )
        return {ImageId(image_id): slot for image_id, slot in rows}

    def before(
        self, connection: Connection, ids: Iterable[int], slots: int, generation: int
    ) -> dict[ImageId, int]:
        """The slots below `slots` that versions of `ids` had when `generation` was the newest, by id."""
        rows = connection.execute(
            f"SELECT id, slot FROM past_image WHERE +collection = ?1 AND id {IN_2}"
            " AND slot < ?3 AND died > ?4",
            (self._collection, json.dumps(list(ids)), slots, generation),
        )
        return {ImageId(image_id): slot for image_id, slot in rows}

    def by_sha256(self, connection: Connection, digests: Sequence[str]) -> dict[str, list[ImageRow]]:
        rows = connection.execute(BY_SHA256, (self._collection, json.dumps(list(digests))))
        found: dict[str, list[ImageRow]] = {}
        for stored in map(_stored, rows):
            found.setdefault(stored.row.sha256, []).append(stored.row)
        return found

    def values(
        self, connection: Connection, field: str, first: int, end: int
    ) -> Iterator[tuple[int, JSONValue]]:
        """(slot, value) of versions in slots [first, end) that have `field`: a column, or a metadata key."""
        if field in COLUMNS:
            parts = (
                f"SELECT slot, {field} FROM {table} WHERE collection = ?1 AND slot >= ?2 AND slot < ?3"
                for table in ("image", "past_image")
            )
            yield from connection.execute(" UNION ALL ".join(parts), (self._collection, first, end))
            return
        path = "$" + "".join(f'."{step}"' for step in field.split("."))
        parts = (
            f"SELECT slot, json_type(metadata, ?2), json_extract(metadata, ?2) FROM {table}"
            " WHERE collection = ?1 AND slot >= ?3 AND slot < ?4"
            # NaN, which an older version stored, is no JSON: such a row must not take the filters of all.
            " AND CASE WHEN json_valid(metadata) THEN json_type(metadata, ?2) <> 'null' END"
            for table in ("image", "past_image")
        )
        rows = connection.execute(" UNION ALL ".join(parts), (self._collection, path, first, end))
        for slot, kind, value in rows:
            if kind in ("true", "false"):
                yield slot, kind == "true"
            elif kind in ("array", "object"):
                yield slot, json.loads(value)
            else:
                yield slot, value

    def drop_tombstones(self, connection: Connection, slots: Sequence[int]) -> None:
        """Their rows are gone: nothing can find them any more."""
        connection.execute(
            "DELETE FROM tombstone WHERE collection = ? AND slot IN (SELECT value FROM json_each(?))",
            (self._collection, json.dumps([int(slot) for slot in slots])),
        )

    def drop_past(self, connection: Connection, before: float) -> list[int]:
        """Delete versions that were replaced or deleted before a time, in seconds since 1970; their slots."""
        done = connection.execute(
            "DELETE FROM past_image WHERE collection = ? AND died_at < ? RETURNING slot",
            (self._collection, before),
        )
        return [slot for (slot,) in done.fetchall()]

    def tombstones(self, connection: Connection, *, after: int, until: int) -> list[int]:
        """Slots tombstoned by generations in (after, until]."""
        rows = connection.execute(
            "SELECT slot FROM tombstone WHERE collection = ? AND generation > ? AND generation <= ?",
            (self._collection, after, until),
        )
        return [slot for (slot,) in rows]

    def _bury(
        self, connection: Connection, generation: int, condition: str, values: Sequence[str | int]
    ) -> None:
        bound = (self._collection, json.dumps(list(values)))
        connection.execute(
            f"INSERT INTO past_image (died, died_at, collection, {COLUMNS_OF})"
            f" SELECT ?, ?, collection, {COLUMNS_OF} FROM image WHERE {condition}",
            (generation, time.time(), *bound),
        )
        connection.execute(
            "INSERT INTO tombstone (collection, slot, generation)"
            f" SELECT collection, slot, ? FROM image WHERE {condition}",
            (generation, *bound),
        )


def _json(metadata: Metadata) -> str:
    return json.dumps(storable(metadata), ensure_ascii=False, allow_nan=False)


def _stored(row: tuple[object, ...]) -> Stored:
    return Stored(_int(row[1]), _image(row))


def _image(row: tuple[object, ...]) -> ImageRow:
    id_, _, uri, sha256, size, mtime_ns, width, height, format_, taken_at, added_at, metadata = row
    stored: dict[str, JSONValue] = json.loads(str(metadata))
    return ImageRow(
        id=ImageId(_int(id_)),
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
