"""Pictures of one encoder: vectors in a file, rows in the database, an index that can be thrown away.

    write   append rows → fsync → one transaction that publishes their slots
    read    index over [0, built)  ∪  exact scan behind it  −  tombstones, then exact scores

A crash between append and transaction leaves rows that nothing refers to; the next write goes over them. So
an acknowledged picture is never lost, and a lost picture was never acknowledged. What a slot says never
changes: an edited picture keeps its id and moves to a new slot, so a reader never sees half an edit.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float16, Float32
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.gpu import Gpu
from indexer.ann.rows import Rows
from indexer.collection.index_store import SEGMENT_ROWS, SnapshotStore
from indexer.collection.view import EXACT_ROWS, View
from indexer.disk.faults import reached
from indexer.disk.lock import WriterLock
from indexer.disk.vectors import VectorFile, to_rows
from indexer.errors import CorruptStoreError, InvalidInputError, ModelMismatchError, StoreError
from indexer.filters.columns import Fields, Read
from indexer.filters.language import Filter
from indexer.tables import collections as states
from indexer.tables.collections import State
from indexer.tables.database import Database
from indexer.tables.images import Catalog, Known
from indexer.tables.metadata import filled
from indexer.times import seconds_since_1970
from indexer.types import ImageId, ImageRow, Metadata, NewImage

LOG = logging.getLogger("kallos.index")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DATABASE = "kallos.sqlite"
RETRIES = (
    5  # a reader meets another process that reclaims space or extends the index: each sees a newer state
)


class Collection:
    """Open it with `Collection.open`; safe to use from threads, and from several processes at once."""

    def __init__(
        self,
        data_dir: Path,
        name: str,
        model_id: str,
        dim: int,
        database: Database,
        exact_rows: int = EXACT_ROWS,
        segment_rows: int = SEGMENT_ROWS,
        gpu: Gpu | None = None,
    ) -> None:
        self.name = name
        self.model_id = model_id
        self.dim = dim
        self.database = database
        self.folder = data_dir / name
        self.snapshots = SnapshotStore(self.folder, gpu, segment_rows)
        self.catalog = Catalog(name)
        self.writer = WriterLock(data_dir / "writer.lock")
        self._fields = Fields(_reader(database, self.catalog))
        self._exact_rows = exact_rows
        self._scans = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "scan")
        self._lock = Lock()
        self._view: View | None = None
        self._mapped: _Mapped | None = None

    @classmethod
    def open(
        cls,
        data_dir: Path,
        name: str = "default",
        *,
        model_id: str,
        dim: int,
        exact_rows: int = EXACT_ROWS,
        segment_rows: int = SEGMENT_ROWS,
        gpu: Gpu | None = None,
    ) -> "Collection":
        """Open the collection `name`, made for `model_id` when it does not exist.

        At most `exact_rows` eligible pictures are scanned exactly even where there is an index. So many as
        `segment_rows` behind it are put into its lists. It is searched on `gpu` when its family can be.

        Raises:
            ModelMismatchError: It holds vectors of another model.
            InvalidInputError: The name is not a plain word.
        """
        if not NAME.fullmatch(name):
            raise InvalidInputError(f"{name!r} cannot name a collection: expected a-z, 0-9, '_' and '-'")
        (data_dir / name).mkdir(parents=True, exist_ok=True)
        database = Database(data_dir / DATABASE)
        with database.write() as connection:
            states.create(connection, name, model_id, dim)
            have = State.read(connection, name)
        if (have.model_id, have.dim) != (model_id, dim):
            database.close()
            raise ModelMismatchError(
                f"collection {name!r} holds vectors of {have.model_id} ({have.dim} numbers), "
                f"not of {model_id} ({dim}): use that model, or another collection"
            )
        return cls(data_dir, name, model_id, dim, database, exact_rows, segment_rows, gpu)

    def close(self) -> None:
        self._scans.shutdown()
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
        rows_ND = to_rows(np.asarray(vectors_ND)[kept], self.dim)
        with self.writer.held():
            state = self.state()
            self._file(state).write(rows_ND, at=state.rows)
            with self.database.write() as connection:
                generation = states.advance(connection, self.name, slots=state.slots + len(kept))
                ids = self.catalog.upsert(connection, [images[i] for i in kept], state.slots, generation)
                reached("uncommitted")
            reached("committed")
            self.extend_index()
        by_uri = {images[position].uri: image_id for position, image_id in zip(kept, ids, strict=True)}
        return [by_uri[image.uri] for image in images]

    def touch(self, changes: Sequence[tuple[ImageId, str, int, int]]) -> None:
        """Record (id, uri, size, mtime_ns) of files that were moved or rewritten with the same bytes."""
        with self.writer.held():
            with self.database.read() as connection:
                rows = self.catalog.by_ids(connection, [image_id for image_id, _, _, _ in changes])
            moved = [
                replace(row, uri=uri, size=size, mtime_ns=mtime_ns)
                for row, (_, uri, size, mtime_ns) in zip(rows, changes, strict=True)
                if row.uri != uri
            ]
            stamped = [change for row, change in zip(rows, changes, strict=True) if row.uri == change[1]]
            self._rewrite(moved)
            with self.database.write() as connection:
                for image_id, _, size, mtime_ns in stamped:
                    self.catalog.stamp(connection, image_id, size, mtime_ns)

    def patch(self, image_id: ImageId, changes: Metadata) -> ImageRow:
        """Merge `changes` into the metadata; None removes a key. `taken_at` takes an ISO 8601 date."""
        with self.writer.held():
            with self.database.read() as connection:
                (row,) = self.catalog.by_ids(connection, [image_id])
            taken_at = _seconds(changes["taken_at"]) if "taken_at" in changes else row.taken_at
            merged = {**row.metadata, **{k: v for k, v in changes.items() if k != "taken_at"}}
            metadata = {key: value for key, value in merged.items() if value is not None}
            self._rewrite([replace(row, taken_at=taken_at, metadata=metadata)])
            with self.database.read() as connection:
                (row,) = self.catalog.by_ids(connection, [image_id])
        return row

    def fill(self, additions: Mapping[ImageId, Metadata]) -> int:
        """Add to the metadata what is missing there, in one transaction; how many pictures it changed.

        What a person wrote is never replaced. A picture that was deleted meanwhile is left out.
        """
        with self.writer.held():
            with self.database.read() as connection:
                rows = self.catalog.find_by_ids(connection, list(additions))
            changed = [
                replace(row, metadata=metadata)
                for image_id, row in rows.items()
                if (metadata := filled(row.metadata, additions[image_id])) != row.metadata
            ]
            self._rewrite(changed)
        return len(changed)

    def delete(self, ids: Sequence[ImageId]) -> list[ImageId]:
        """Forget pictures; the ids that existed, rising. Their slots are never searched again."""
        if not ids:
            return []
        with self.writer.held(), self.database.write() as connection:
            generation = states.advance(connection, self.name)
            return self.catalog.delete(connection, ids, generation)

    def known(self, uris: Sequence[str] | None = None) -> dict[str, Known]:
        """What is stored, by uri; or what is stored of `uris`."""
        with self.database.read() as connection:
            return self.catalog.known(connection, uris)

    def find_by_sha256(self, digests: Sequence[str]) -> dict[str, list[ImageRow]]:
        """Pictures whose files have one of these hashes, by hash; the oldest first."""
        with self.database.read() as connection:
            return self.catalog.by_sha256(connection, digests)

    def ids_where(self, condition: Filter) -> list[ImageId]:
        """Pictures for which `condition` holds, by rising id."""
        view = self.view()
        with self.database.read() as connection:
            return self.catalog.ids_at(connection, view.slots_in(view.select(condition)).tolist())

    def extend_index(self) -> bool:
        """Put pictures that came behind the index into its lists when they are many; whether it did.

        Whoever writes does it, since who searches would have to wait for it. It has no part in what was
        acknowledged: when it fails, they are scanned.
        """
        with self.writer.held():
            state = self.state()
            try:
                return self.snapshots.extend(self._rows(state), state.epoch)
            except (OSError, StoreError) as error:
                LOG.warning("cannot extend the index of %s: %s", self.folder, error)
                return False

    def state(self) -> State:
        """As published now, by whichever process."""
        with self.database.read() as connection:
            return State.read(connection, self.name)

    def view(self) -> View:
        """The newest generation, also when another process wrote it. Cheap when nothing has changed."""
        with self._lock:
            for attempt in range(RETRIES):
                last = attempt == RETRIES - 1
                try:
                    self._view = self._newest(self._view, or_exact=last)
                # Of an epoch that ended after its number was read, or rows that came after they were counted.
                except (FileNotFoundError, CorruptStoreError, _OvertakenError):
                    if last:
                        raise
                else:
                    return self._view
        raise AssertionError("the loop returns or raises")

    def _newest(self, before: View | None, *, or_exact: bool) -> View:
        """Without an index that covers unpublished rows, if `or_exact`: the database is an old copy."""
        with self.database.read() as connection:
            state = State.read(connection, self.name)
            if before is not None and before.epoch != state.epoch:
                before = None
            is_same = before is not None and before.slots == state.slots
            rows = before.matrix if before is not None and is_same else self._rows(state)
            snapshot = self.snapshots.current(rows, state.epoch)
            built = 0 if snapshot is None else snapshot.built
            if built > len(rows):
                if not or_exact:
                    raise _OvertakenError
                snapshot, built = None, 0
            if before is not None and (before.generation, before.built) == (state.generation, built):
                return before
            since = 0 if before is None else before.generation
            dead = self.catalog.tombstones(connection, after=since, until=state.generation)
            newest = self.catalog.newest(connection)
        slot_map = state.slot_map(self.folder)
        alive = Bitmap.full(len(rows)) if before is None else before.live().grown(len(rows))
        return View(
            self.database,
            self.catalog,
            self._fields,
            rows,
            slot_map,
            alive.without(slot_map.rows_of(dead)),
            snapshot,
            slots=state.slots,
            newest=newest,
            generation=state.generation,
            epoch=state.epoch,
            exact_rows=self._exact_rows,
        )

    def _rows(self, state: State) -> Rows:
        """The published rows, in a mapping that goes on while there is room in it."""
        file, mapped = self._file(state), self._mapped
        if state.rows == 0:
            return Rows(file.read(0), self._scans)
        if mapped is None or mapped.epoch != state.epoch or len(mapped.rows_ND) < state.rows:
            self._mapped = mapped = _Mapped(state.epoch, file.read_on(state.rows))
        file.check(state.rows)
        return Rows(mapped.rows_ND[: state.rows], self._scans)

    def _file(self, state: State) -> VectorFile:
        return VectorFile(self.folder, self.dim, state.epoch)

    def _rewrite(self, rows: Sequence[ImageRow]) -> None:
        """Store these pictures as given, each with its vector in a new slot. Under the writer lock."""
        if not rows:
            return
        state = self.state()
        file = self._file(state)
        old_N = state.slot_map(self.folder).rows_of([row.slot for row in rows])
        file.write(np.asarray(file.read(state.rows)[old_N]), at=state.rows)
        with self.database.write() as connection:
            generation = states.advance(connection, self.name, slots=state.slots + len(rows))
            for slot, row in enumerate(rows, start=state.slots):
                self.catalog.rewrite(connection, row, slot, generation)
        self.extend_index()


@dataclass(frozen=True, slots=True)
class _Mapped:
    """`rows_ND` of an epoch's file, and room for more."""

    epoch: int
    rows_ND: Float16[ndarray, "n d"]


class _OvertakenError(Exception):
    """The index covers pictures that were published after this reader looked at how many there are."""


def _reader(database: Database, catalog: Catalog) -> Read:
    def read(field: str, first: int, end: int) -> list[tuple[int, object]]:
        with database.read() as connection:
            return list(catalog.values(connection, field, first, end))

    return read  # type: ignore[return-value]  # JSONValue is recursive: mypy sees object


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    seconds = seconds_since_1970(value) if isinstance(value, str) else None
    if seconds is None:
        raise InvalidInputError(f"taken_at: got {value!r}, expected an ISO 8601 date such as 2020-01-31")
    return seconds
