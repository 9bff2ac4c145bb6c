"""Pictures of one encoder: vectors in a file, rows in the database, an index that can be thrown away.

    write   append rows → fsync → one transaction that publishes their slots
    read    index over [0, built)  ∪  exact scan behind it  −  tombstones, then exact scores

A crash between append and transaction leaves rows that nothing refers to; the next write goes over them. So
an acknowledged picture is never lost, and a lost picture was never acknowledged. What a slot says never
changes: an edit stores a new version of the picture, under its id, in a new slot. The version that it
replaces is kept until space is reclaimed, so that a snapshot stays what it was.
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
from jaxtyping import Float16, Float32, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.gpu import Gpu
from indexer.ann.rows import Rows
from indexer.collection.attribute_values import AttributeValues
from indexer.collection.candidates import EXACT_ROWS
from indexer.collection.index_store import SEGMENT_ROWS, IndexStore
from indexer.collection.known_rows import KnownRows
from indexer.collection.snapshot import LocalSnapshot, Parts
from indexer.collection.word_index import WordIndex
from indexer.disk.faults import reached
from indexer.disk.files import size_of, writing
from indexer.disk.ids import UNKNOWN, IdFile
from indexer.disk.lock import WriterLock
from indexer.disk.vectors import VectorFile, to_rows
from indexer.errors import (
    CorruptStoreError,
    InvalidCursorError,
    InvalidInputError,
    ModelMismatchError,
    StoreError,
)
from indexer.filters.columns import Fields, Read
from indexer.lru import Lru
from indexer.protocols import StoreInfo, Version
from indexer.tables import collections as states
from indexer.tables.collections import State
from indexer.tables.database import Database
from indexer.tables.images import Catalog, Stored
from indexer.tables.metadata import filled
from indexer.tables.words import WordTables
from indexer.times import seconds_since_1970
from indexer.types import ImageId, ImageRow, Known, Metadata, NewImage

LOG = logging.getLogger("kallos.index")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DATABASE = "kallos.sqlite"
MOST_ORDERS = 64  # of the whole collection, of which the first places are remembered
MOST_EARLIER = 8  # versions that lists are being read of
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
        self.index_store = IndexStore(self.folder, gpu, segment_rows)
        self.catalog = Catalog(name)
        self.writer = WriterLock(data_dir / "writer.lock")
        fields = Fields(_reader(database, self.catalog))
        self._words = WordIndex(database, name)
        self._parts = Parts(fields, AttributeValues(), self._words, Lru(MOST_ORDERS), exact_rows)
        self._scans = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "scan")
        self._lock = Lock()
        self._snapshot: LocalSnapshot | None = None
        self._earlier: Lru[tuple[Version, Version], LocalSnapshot] = Lru(MOST_EARLIER)
        self._mapped: _Mapped | None = None
        self._ids = IdFile(self.folder)

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
        model: str | None = None,
    ) -> "Collection":
        """Open the collection `name`, made for `model_id` when it does not exist.

        At most `exact_rows` eligible pictures are scanned exactly even where there is an index. So many as
        `segment_rows` behind it are put into its lists. It is searched on `gpu` when its family can be.
        `model` is the name that loads its encoder, kept for those who open it later without knowing it.

        Raises:
            ModelMismatchError: It holds vectors of another model.
            InvalidInputError: The name is not a plain word.
        """
        if not NAME.fullmatch(name):
            raise InvalidInputError(f"{name!r} cannot name a collection: expected a-z, 0-9, '_' and '-'")
        with writing(data_dir / name):
            (data_dir / name).mkdir(parents=True, exist_ok=True)
        database = Database(data_dir / DATABASE)
        with database.write() as connection:
            states.create(connection, name, model_id, dim, model)
            have = State.read(connection, name)
            WordTables(name).create(connection)
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
            self._ids_of(state.slots)  # whole, before more are put behind them
            self._file(state).write(rows_ND, at=state.rows)
            with self.database.write() as connection:
                generation = states.advance(connection, self.name, slots=state.slots + len(kept))
                last_ones = [images[i] for i in kept]
                ids = self.catalog.upsert(connection, last_ones, state.slots, generation)
                self._words.tables.add(connection, state.slots, last_ones)
                self._ids.write(ids, at=state.slots)
                reached("uncommitted")
            reached("committed")
            self.extend_index()
        by_uri = {images[position].uri: image_id for position, image_id in zip(kept, ids, strict=True)}
        return [by_uri[image.uri] for image in images]

    def drop_past(self, before: float) -> None:
        """Forget versions that were replaced or deleted before a time, in seconds since 1970."""
        with self.database.write() as connection:
            if gone := self.catalog.drop_past(connection, before):
                self._words.tables.drop(connection, gone)
                states.advance(connection, self.name)  # what was shown of them is shown no more

    def touch(self, changes: Sequence[tuple[ImageId, str, int, int]]) -> None:
        """Record (id, uri, size, mtime_ns) of files that were moved or rewritten with the same bytes."""
        with self.writer.held():
            with self.database.read() as connection:
                have = self.catalog.by_ids(connection, [image_id for image_id, _, _, _ in changes])
            moved = [
                Stored(one.slot, replace(one.row, uri=uri, size=size, mtime_ns=mtime_ns))
                for one, (_, uri, size, mtime_ns) in zip(have, changes, strict=True)
                if one.row.uri != uri
            ]
            stamped = [change for one, change in zip(have, changes, strict=True) if one.row.uri == change[1]]
            self._rewrite(moved)
            with self.database.write() as connection:
                for image_id, _, size, mtime_ns in stamped:
                    self.catalog.stamp(connection, image_id, size, mtime_ns)

    def patch(self, image_id: ImageId, changes: Metadata) -> ImageRow:
        """Merge `changes` into the metadata; None removes a key. `taken_at` takes an ISO 8601 date."""
        with self.writer.held():
            with self.database.read() as connection:
                (have,) = self.catalog.by_ids(connection, [image_id])
            row = have.row
            taken_at = _seconds(changes["taken_at"]) if "taken_at" in changes else row.taken_at
            merged = {**row.metadata, **{k: v for k, v in changes.items() if k != "taken_at"}}
            metadata = {key: value for key, value in merged.items() if value is not None}
            self._rewrite([Stored(have.slot, replace(row, taken_at=taken_at, metadata=metadata))])
            with self.database.read() as connection:
                (now,) = self.catalog.by_ids(connection, [image_id])
        return now.row

    def fill(self, additions: Mapping[ImageId, Metadata]) -> int:
        """Add to the metadata what is missing there, in one transaction; how many pictures it changed.

        What a person wrote is never replaced. A picture that was deleted meanwhile is left out.
        """
        with self.writer.held():
            with self.database.read() as connection:
                have = self.catalog.find_by_ids(connection, list(additions))
            changed = [
                Stored(one.slot, replace(one.row, metadata=metadata))
                for image_id, one in have.items()
                if (metadata := filled(one.row.metadata, additions[image_id])) != one.row.metadata
            ]
            self._rewrite(changed)
        return len(changed)

    def delete(self, ids: Sequence[ImageId]) -> list[ImageId]:
        """Delete pictures; the ids that existed, rising. Their slots are never searched again."""
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

    def extend_index(self) -> bool:
        """Put pictures that came behind the index into its lists when they are many; whether it did.

        Writers do it, since a search would have to wait for it. It has no part in what was
        acknowledged: when it fails, they are scanned.
        """
        with self.writer.held():
            state = self.state()
            try:
                return self.index_store.extend(self._rows(state), state.file_set)
            except (OSError, StoreError) as error:
                LOG.warning("cannot extend the index of %s: %s", self.folder, error)
                return False

    def state(self) -> State:
        """As published now, by whichever process."""
        with self.database.read() as connection:
            return State.read(connection, self.name)

    def snapshot(self, at: Version | None = None) -> LocalSnapshot:
        """See `indexer.protocols.Store`. The newest is so also when another process wrote it, and cheap when
        nothing has changed. An earlier one is exact until space is reclaimed.
        """
        newest = self._newest()
        if at is None or at == newest.version:
            return newest
        return self._earlier.get((at, newest.version), lambda: self._as_of(newest, at))

    def info(self) -> StoreInfo:
        snapshot, gpu = self.snapshot(), self.index_store.gpu
        return StoreInfo(
            images=snapshot.images,
            version=snapshot.version,
            index=snapshot.family or "exact",
            index_device=snapshot.device,
            gpu_failures=0 if gpu is None else gpu.failures,
            indexed_rows=snapshot.covered_rows,
            unindexed_rows=len(snapshot.matrix) - snapshot.covered_rows,
            deleted_rows=snapshot.deleted,
            disk_bytes=size_of(self.folder),
        )

    def _newest(self) -> LocalSnapshot:
        """A new index is read by one thread, outside the lock: the others go on with the one before."""
        for attempt in range(RETRIES):
            last = attempt == RETRIES - 1
            try:
                with self._lock:
                    self._snapshot, is_due = self._refreshed(self._snapshot, or_exact=last)
                    snapshot = self._snapshot
            # Of a file set that ended after its number was read, or rows that came after they were counted.
            except (FileNotFoundError, CorruptStoreError, _OvertakenError):
                if last:
                    raise
            else:
                if last or not is_due or not self.index_store.load(snapshot.matrix, snapshot.file_set):
                    return snapshot
        raise AssertionError("the loop returns or raises")

    def _refreshed(self, before: LocalSnapshot | None, *, or_exact: bool) -> tuple[LocalSnapshot, bool]:
        """The newest snapshot, and whether there is another index to load.

        Without an index that covers unpublished rows, if `or_exact`: the database is an old copy.
        """
        with self.database.read() as connection:
            state = State.read(connection, self.name)
            if before is not None and before.file_set != state.file_set:
                before = None
                self._earlier = Lru(MOST_EARLIER)  # they hold files that are gone
            is_same = before is not None and before.slots == state.slots
            rows = before.matrix if before is not None and is_same else self._rows(state)
            index, is_due = self.index_store.current(state.file_set)
            covered = 0 if index is None else index.covered_rows
            if covered > len(rows):
                if not or_exact:
                    raise _OvertakenError
                index, covered = None, 0
            if before is not None and before.version.number == state.generation and before.index is index:
                return before, is_due
            since = 0 if before is None else before.version.number
            dead = self.catalog.tombstones(connection, after=since, until=state.generation)
            newest = self.catalog.newest(connection)
        slot_map = state.slot_map(self.folder)
        alive = Bitmap.full(len(rows)) if before is None else before.live().grown(len(rows))
        alive = alive.without(slot_map.rows_of(dead))
        known = KnownRows(self.database, self.catalog, slot_map, alive, self._ids_of(state.slots))
        snapshot = LocalSnapshot(
            Version(state.generation, (state.slots, newest)),
            rows,
            slot_map,
            alive,
            index,
            known,
            self._parts,
            slots=state.slots,
            file_set=state.file_set,
            state=(state.file_set, state.generation),
        )
        return snapshot, is_due

    def _as_of(self, newest: LocalSnapshot, at: Version) -> LocalSnapshot:
        """`newest` as it was at an earlier version, without the pictures that were deleted since.

        A version of a picture that was replaced since takes the place of the newest one, as long as it is
        known and its row is there.
        """
        if not _may_have_been(at, newest):
            raise InvalidCursorError(f"version {at.number} with {at.detail} is none of this collection")
        slots = at.detail[0]
        with self.database.read() as connection:
            now = self.catalog.edited(connection, slots, newest.slots, until=at.detail[1])
            then = self.catalog.before(connection, now, slots, at.number)
        slot_map, row_count = newest.slot_map, len(newest.matrix)
        ids = list(now)
        then_N = slot_map.rows_of([then.get(image_id, -1) for image_id in ids])
        now_N = slot_map.rows_of([now[image_id] for image_id in ids])
        rows_N = np.where(then_N >= 0, then_N, now_N)
        alive = newest.live().below(slot_map.row_count(slots))
        alive = alive.joined(rows_N[(rows_N >= 0) & (rows_N < row_count)])
        return LocalSnapshot(
            at,
            newest.matrix,
            slot_map,
            alive,
            newest.index,
            KnownRows(self.database, self.catalog, slot_map, alive, self._ids_of(newest.slots)),
            self._parts,
            slots=newest.slots,
            file_set=newest.file_set,
            state=(newest.file_set, newest.version.number, at.number, *at.detail),
        )

    def _ids_of(self, slots: int) -> Int64[ndarray, " n"]:
        """The id in each published slot. A file that an older version did not write is filled now."""
        covered = self._ids.covered()
        if covered < slots:
            with self.writer.held(), self.database.read() as connection:
                missing_N = np.full(slots - covered, UNKNOWN, np.int64)
                for slot, image_id in self.catalog.ids_between(connection, covered, slots):
                    missing_N[slot - covered] = image_id
                self._ids.write(missing_N, at=covered)
        return self._ids.read(slots)

    def _rows(self, state: State) -> Rows:
        """The published rows, in a mapping that goes on while there is room in it."""
        file, mapped = self._file(state), self._mapped
        if state.rows == 0:
            return Rows(file.read(0), self._scans)
        if mapped is None or mapped.file_set != state.file_set or len(mapped.rows_ND) < state.rows:
            self._mapped = mapped = _Mapped(state.file_set, file.read_on(state.rows))
        file.check(state.rows)
        return Rows(mapped.rows_ND[: state.rows], self._scans)

    def _file(self, state: State) -> VectorFile:
        return VectorFile(self.folder, self.dim, state.file_set)

    def _rewrite(self, changed: Sequence[Stored]) -> None:
        """Store versions as given, each with the vector of its slot in a new one. Under the writer lock."""
        if not changed:
            return
        state = self.state()
        self._ids_of(state.slots)
        file = self._file(state)
        old_N = state.slot_map(self.folder).rows_of([one.slot for one in changed])
        file.write(np.asarray(file.read(state.rows)[old_N]), at=state.rows)
        with self.database.write() as connection:
            generation = states.advance(connection, self.name, slots=state.slots + len(changed))
            for slot, one in enumerate(changed, start=state.slots):
                self.catalog.rewrite(connection, one.row, slot, generation)
            self._words.tables.add(connection, state.slots, [one.row for one in changed])
            self._ids.write([one.row.id for one in changed], at=state.slots)
        self.extend_index()


@dataclass(frozen=True, slots=True)
class _Mapped:
    """`rows_ND` of a file set's file, and room for more."""

    file_set: int
    rows_ND: Float16[ndarray, "n d"]


class _OvertakenError(Exception):
    """The index covers pictures that were published after this reader looked at how many there are."""


def _may_have_been(at: Version, newest: LocalSnapshot) -> bool:
    """Whether `newest` may have grown from `at`. Ids are those of all collections, so they may be larger."""
    if len(at.detail) != 2:
        return False
    slots, last_id = at.detail
    return 0 <= at.number <= newest.version.number and 0 <= slots <= newest.slots and 0 <= last_id < 1 << 63


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
