"""Pictures of one encoder: vectors in a file, rows in the database, an index that can be thrown away.

    write   append rows → fsync → one transaction that publishes their slots
    read    index over [0, built)  ∪  exact scan behind it  −  tombstones, then exact scores

A crash between append and transaction leaves rows that nothing refers to; the next write goes over them. So
an acknowledged picture is never lost, and a lost picture was never acknowledged.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.bitmap import Bitmap
from indexer.catalog import Catalog, Known
from indexer.database import Connection, Database
from indexer.errors import InvalidInputError, ModelMismatchError, NotFoundError
from indexer.faiss_index import EXACT_BELOW, Family, choose_family
from indexer.faults import reached
from indexer.filters import Filter
from indexer.lock import WriterLock
from indexer.snapshots import SnapshotStore
from indexer.times import seconds_since_1970
from indexer.types import ImageId, ImageRow, Metadata, NewImage
from indexer.vectors import VectorFile
from indexer.view import View

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DATABASE = "kallos.sqlite"
VECTORS = "vectors.f16"
TAIL_SHARE = 0.2  # of the indexed rows: a longer tail is worth a new index


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What was built; `family` None means that this collection is scanned exactly."""

    family: Family | None
    built: int
    seconds: float


class Collection:
    """Open it with `Collection.open`; safe to use from threads, and from several processes at once."""

    def __init__(self, data_dir: Path, name: str, model_id: str, dim: int, database: Database) -> None:
        self.name = name
        self.model_id = model_id
        self.dim = dim
        self.database = database
        self._folder = data_dir / name
        self._vectors = VectorFile(self._folder / VECTORS, dim)
        self._snapshots = SnapshotStore(self._folder)
        self._catalog = Catalog(name)
        self._writer = WriterLock(data_dir)
        self._lock = Lock()
        self._view: View | None = None

    @classmethod
    def open(cls, data_dir: Path, name: str = "default", *, model_id: str, dim: int) -> "Collection":
        """Open the collection `name`, made for `model_id` when it does not exist.

        Raises:
            ModelMismatchError: It holds vectors of another model.
            InvalidInputError: The name is not a plain word.
        """
        if not NAME.fullmatch(name):
            raise InvalidInputError(f"{name!r} cannot name a collection: expected a-z, 0-9, '_' and '-'")
        (data_dir / name).mkdir(parents=True, exist_ok=True)
        database = Database(data_dir / DATABASE)
        with database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO collection (name, model_id, dim, created_at) VALUES (?, ?, ?, ?)",
                (name, model_id, dim, time.time()),
            )
            have = connection.execute(
                "SELECT model_id, dim FROM collection WHERE name = ?", (name,)
            ).fetchone()
        if have != (model_id, dim):
            database.close()
            raise ModelMismatchError(
                f"collection {name!r} holds vectors of {have[0]} ({have[1]} numbers), "
                f"not of {model_id} ({dim}): "
                "use that model, or another collection"
            )
        return cls(data_dir, name, model_id, dim, database)

    def close(self) -> None:
        self.database.close()

    def add(self, images: Sequence[NewImage], vectors_ND: Float32[ndarray, "n d"]) -> list[ImageId]:
        """Store pictures; when this returns they survive a power cut. A known `uri` keeps its id.

        Args:
            images: A `uri` that stands twice is stored once, as it stands last.
            vectors_ND: One row for each image; unit length by convention of the encoder.

        Returns:
            Ids in the order of `images`.
        """
        if len(images) != len(vectors_ND):
            raise InvalidInputError(f"{len(images)} images came with {len(vectors_ND)} vectors")
        if not images:
            return []
        last = {image.uri: position for position, image in enumerate(images)}
        kept = sorted(last.values())
        with self._writer.held():
            first_slot = self._published()[0]
            self._vectors.write(np.asarray(vectors_ND)[kept], at=first_slot)
            with self.database.write() as connection:
                generation = self._advance(connection, slots=first_slot + len(kept))
                ids = self._catalog.upsert(connection, [images[i] for i in kept], first_slot, generation)
                reached("uncommitted")
            reached("committed")
        by_uri = {images[position].uri: image_id for position, image_id in zip(kept, ids, strict=True)}
        return [by_uri[image.uri] for image in images]

    def touch(self, changes: Sequence[tuple[ImageId, str, int, int]]) -> None:
        """Record (id, uri, size, mtime_ns) of files that were moved or rewritten with the same bytes."""
        with self._writer.held(), self.database.write() as connection:
            self._advance(connection)
            for image_id, uri, size, mtime_ns in changes:
                self._catalog.touch(connection, image_id, uri, size, mtime_ns)

    def patch(self, image_id: ImageId, changes: Metadata) -> ImageRow:
        """Merge `changes` into the metadata; None removes a key. `taken_at` takes an ISO 8601 date."""
        with self._writer.held(), self.database.write() as connection:
            (row,) = self._catalog.by_ids(connection, [image_id])
            self._advance(connection)
            if "taken_at" in changes:
                self._catalog.set_taken_at(connection, image_id, _seconds(changes["taken_at"]))
            merged = {**row.metadata, **{k: v for k, v in changes.items() if k != "taken_at"}}
            self._catalog.set_metadata(
                connection, image_id, {key: value for key, value in merged.items() if value is not None}
            )
            (row,) = self._catalog.by_ids(connection, [image_id])
        return row

    def delete(self, ids: Sequence[ImageId]) -> list[ImageId]:
        """Forget pictures; the ids that existed, rising. Their slots are never searched again."""
        if not ids:
            return []
        with self._writer.held(), self.database.write() as connection:
            return self._catalog.delete(connection, ids, self._advance(connection))

    def delete_where(self, condition: Filter) -> list[ImageId]:
        """Forget every picture for which `condition` holds."""
        with self._writer.held(), self.database.write() as connection:
            ids = self._catalog.ids_where(connection, condition)
            return self._catalog.delete(connection, ids, self._advance(connection)) if ids else []

    def known(self) -> dict[str, Known]:
        """What is stored, by uri."""
        with self.database.read() as connection:
            return self._catalog.known(connection)

    def find_by_sha256(self, digests: Sequence[str]) -> dict[str, list[ImageRow]]:
        """Pictures whose files have one of these hashes, by hash; the oldest first."""
        with self.database.read() as connection:
            return self._catalog.by_sha256(connection, digests)

    def view(self) -> View:
        """The newest generation, also when another process wrote it. Cheap when nothing has changed."""
        with self._lock:
            before = self._view
            with self.database.read() as connection:
                slots, generation = self._published(connection)
                snapshot = self._snapshots.current(slots)
                unchanged = before is not None and before.generation == generation
                if unchanged and before is not None and before.built == (snapshot.built if snapshot else 0):
                    return before
                since = 0 if before is None else before.generation
                dead = self._catalog.tombstones(connection, after=since, until=generation)
            alive = Bitmap.full(slots) if before is None else before.live().grown(slots)
            self._view = View(
                self.database,
                self._catalog,
                self._vectors.read(slots),
                alive.without(dead),
                snapshot,
                generation,
            )
            return self._view

    def compact(
        self, *, family: Family | None = None, progress: Callable[[int, int], None] | None = None
    ) -> CompactReport:
        """Build the index anew over everything published; `family` overrides the choice by size.

        Reading and writing go on meanwhile. The rows of deleted pictures stay in the file.
        """
        started = time.monotonic()
        slots, generation = self._published()
        chosen = family or choose_family(slots)
        if chosen is None or slots == 0:
            self._snapshots.drop()
            return CompactReport(None, 0, time.monotonic() - started)
        manifest = self._snapshots.build(
            self._vectors.read(slots),
            chosen,
            generation=generation,
            model_id=self.model_id,
            progress=progress,
        )
        return CompactReport(chosen, manifest.built, time.monotonic() - started)

    def compact_if_due(self) -> CompactReport | None:
        """Build an index when the collection has outgrown the one it has, or has none and needs one."""
        view = self.view()
        behind = view.slots - view.built
        if view.slots < EXACT_BELOW or behind <= TAIL_SHARE * view.built:
            return None
        return self.compact()

    def _published(self, connection: Connection | None = None) -> tuple[int, int]:
        """(slots, generation)."""
        if connection is None:
            with self.database.read() as own:
                return self._published(own)
        row = connection.execute(
            "SELECT slots, generation FROM collection WHERE name = ?", (self.name,)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"collection {self.name!r} was deleted")
        return int(row[0]), int(row[1])

    def _advance(self, connection: Connection, *, slots: int | None = None) -> int:
        """Begin a new generation, and publish `slots` when given; the new generation."""
        (generation,) = connection.execute(
            "UPDATE collection SET generation = generation + 1, slots = coalesce(?, slots) WHERE name = ?"
            " RETURNING generation",
            (slots, self.name),
        ).fetchone()
        return int(generation)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    seconds = seconds_since_1970(value) if isinstance(value, str) else None
    if seconds is None:
        raise InvalidInputError(f"taken_at: got {value!r}, expected an ISO 8601 date such as 2020-01-31")
    return seconds
