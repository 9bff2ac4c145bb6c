"""Keeping a collection fast and small: rebuild its index, and reclaim the space of deleted pictures.

Reading and writing go on meanwhile. A new index lies beside the old one until it is whole. Space is reclaimed
by writing the rows that are still needed into a new file set (see `indexer.disk.slots`), with its own index:
one transaction then changes over, and readers that are still at work keep the files they have open.
"""

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.build import BuildStopped, Watch, in_background
from indexer.ann.index import Family
from indexer.ann.plan import Plan, plan
from indexer.ann.rows import Rows
from indexer.collection.collection import Collection
from indexer.collection.snapshot import LocalSnapshot
from indexer.disk.faults import reached
from indexer.disk.files import size_of, sync_file, sync_folder, writing
from indexer.disk.lock import WriterLock
from indexer.disk.vectors import VectorFile, of_file_set
from indexer.errors import BusyError, StoreError
from indexer.tables import collections as states
from indexer.tables.collections import State

TAIL_SHARE = 0.2  # of the rows that the index was built over: more that came later are worth a new one
DEAD_SHARE = 0.2  # of all rows: more deleted ones are worth a new file
FEWEST = 10_000  # rows: smaller collections are scanned in a millisecond whatever their state
CHUNK = 16_384
PAST_S = 3600.0  # for so long a replaced or deleted version is known: pages of a list are read meanwhile
NO_WAIT_S = 0.0  # for another compaction: it does the same work
BACKUP_WAIT_S = 3600.0  # for a backup, which ends


@dataclass(frozen=True, slots=True)
class Aims:
    """What an index is chosen for. `threads` bounds what building may take.

    `asked_QD` are queries as people ask them: recall is calibrated on them too.
    """

    memory_bytes: int
    latency_ms: float = 10.0
    threads: int = 1
    asked_QD: "Float32[ndarray, 'q d'] | None" = None


@dataclass(frozen=True, slots=True)
class CompactReport:
    """`family` None means that this collection is scanned exactly. `freed_bytes` were reclaimed."""

    family: Family | None
    built: int
    reclaimed: int
    freed_bytes: int
    seconds: float


def plan_for(collection: Collection, aims: Aims) -> Plan:
    gpu = collection.index_store.gpu
    return plan(
        collection.snapshot().images,
        collection.dim,
        memory_bytes=aims.memory_bytes,
        latency_ms=aims.latency_ms,
        gpu=gpu is not None,
        cagra=gpu is not None and gpu.has_cagra,
    )


def is_due(collection: Collection, aims: Aims) -> bool:
    """Whether the collection has outgrown its index, or drags too many deleted pictures along."""
    snapshot = collection.snapshot()
    rows = snapshot.images + snapshot.deleted
    if rows < FEWEST:
        return False
    if snapshot.deleted > DEAD_SHARE * rows:
        return True
    return (
        plan_for(collection, aims).family is not None
        and rows - snapshot.base_rows > TAIL_SHARE * snapshot.base_rows
    )


def compact(
    collection: Collection,
    aims: Aims,
    *,
    family: Family | None = None,
    reclaim: bool | None = None,
    watch: Watch | None = None,
) -> CompactReport:
    """Build the index, and reclaim space when enough of it is dead, or `reclaim` says so.

    Args:
        collection: Stays readable and writable.
        aims: What to choose the family for, unless `family` names it.
        family: One to build whatever the plan says.
        reclaim: True, False, or None for "when more than DEAD_SHARE of the rows are deleted".
        watch: Hears of every step, and may stop the work: the next call goes on from there.

    Raises:
        BuildStopped: `watch` asked for it; the collection is as it was.
        BusyError: Another process is compacting this collection, or a backup of it does not end.
        StoreError: The disk is full or cannot be written; the collection is as it was.
    """
    started = time.monotonic()
    watch = watch or Watch()
    with _its_turn(collection.folder, watch), _nothing_left_of_it(collection), in_background(aims.threads):
        before = size_of(collection.folder)
        snapshot = collection.snapshot()
        chosen = family or plan_for(collection, aims).family
        if reclaim is None:
            reclaim = snapshot.deleted > DEAD_SHARE * (snapshot.images + snapshot.deleted)
        if reclaim and snapshot.deleted:
            built = _reclaim(collection, snapshot, chosen, aims, watch)
            reclaimed = snapshot.deleted
        else:
            built = _build(collection, collection.state(), chosen, aims, watch)
            reclaimed = 0
        file_set = collection.state().file_set
        with collection.writer.held():
            collection.index_store.sweep(file_set)
            collection.drop_past(time.time() - PAST_S)
        _remove_old_file_sets(collection.folder, file_set)
        while not watch.should_stop() and collection.extend_index():  # a turn each: others write in between
            watch.tell("rows", collection.snapshot().covered_rows, collection.state().rows)
        freed = before - size_of(collection.folder)
    return CompactReport(chosen if built else None, built, reclaimed, freed, time.monotonic() - started)


@contextmanager
def _nothing_left_of_it(collection: Collection) -> Iterator[None]:
    """When the disk is full, what was written in vain is removed, finished steps of a build included."""
    try:
        yield
    except StoreError as error:
        if isinstance(error.__cause__, OSError):
            collection.index_store.remove_work()
            with suppress(StoreError):  # a disk so full that not even the lock can be taken
                file_set = collection.state().file_set
                _remove_old_file_sets(collection.folder, file_set)
                with collection.writer.held():
                    collection.index_store.sweep(file_set)
        raise


@contextmanager
def _its_turn(folder: Path, watch: Watch) -> Iterator[None]:
    """Refused at once while another compacts, and after whoever backs up now.

    Who backs up again and again holds `compact.lock` nearly always: a compaction that does not queue for it
    would hardly ever find it free.
    """
    with WriterLock(folder / "build.lock", wait_s=NO_WAIT_S).held(), ExitStack() as stack:
        files = WriterLock(folder / "compact.lock", wait_s=BACKUP_WAIT_S, should_stop=watch.should_stop)
        try:
            stack.enter_context(files.held())
        except BusyError as error:
            if watch.should_stop():
                raise BuildStopped from error
            raise
        yield


def _build(
    collection: Collection, state: State, family: Family | None, aims: Aims, watch: Watch, suffix: str = ""
) -> int:
    """Index the published rows of `state`'s file set; how many it covers."""
    if family is None or state.rows == 0:
        with collection.writer.held():
            collection.index_store.drop(state.file_set)
        return 0
    file = VectorFile(collection.folder, collection.dim, state.file_set)
    rows = Rows(file.read(state.rows))

    def newest() -> Rows:
        now = collection.state()  # of another file set while space is being reclaimed
        return Rows(file.read(now.rows)) if now.file_set == state.file_set else rows

    manifest = collection.index_store.build(
        rows,
        family,
        file_set=state.file_set,
        generation=state.generation,
        model_id=collection.model_id,
        watch=watch,
        turn=collection.writer.held(),
        newest=newest,
        suffix=suffix,
        asked_QD=aims.asked_QD,
    )
    return manifest.built


def _reclaim(
    collection: Collection, snapshot: LocalSnapshot, family: Family | None, aims: Aims, watch: Watch
) -> int:
    """Begin a new file set without the rows that are dead in `snapshot`; how many rows its index covers."""
    state = collection.state()
    file_set = state.file_set + 1
    live_slots_N = snapshot.slot_map.slots_of(snapshot.live().rows())
    file = VectorFile(collection.folder, collection.dim, file_set)
    _copy_live(collection, snapshot, file.path, watch)
    slots_path = collection.folder / of_file_set("slots.i64", file_set)
    with writing(slots_path):
        slots_path.write_bytes(live_slots_N.astype("<i8").tobytes())
        sync_file(slots_path)
        sync_folder(collection.folder)
    reached("file-set-copied")
    after = State(
        collection.model_id,
        collection.dim,
        snapshot.slots,
        snapshot.version.number,
        file_set,
        snapshot.images,
        snapshot.slots,
    )
    suffix = f"-{zlib.crc32(live_slots_N.tobytes()):08x}"  # as many others may be alive next time
    built = _build(collection, after, family, aims, watch, suffix)
    dead_N = np.setdiff1d(np.arange(snapshot.slots), live_slots_N, assume_unique=True)
    with collection.writer.held():
        _copy_new(collection, snapshot, file)
        reached("file-set-caught-up")
        with collection.database.write() as connection:
            collection.catalog.drop_tombstones(connection, dead_N.tolist())
            states.begin_file_set(
                connection,
                collection.name,
                file_set=file_set,
                kept_rows=snapshot.images,
                next_slot=snapshot.slots,
            )
        reached("file-set-begun")
    return built


def _copy_live(collection: Collection, snapshot: LocalSnapshot, path: Path, watch: Watch) -> None:
    with writing(path), path.open("wb") as out:
        for block_BD in snapshot.live_rows(CHUNK):
            out.write(block_BD.tobytes())
            watch.step("copy", out.tell() // (2 * collection.dim), snapshot.images)
        out.flush()
        os.fsync(out.fileno())


def _copy_new(collection: Collection, snapshot: LocalSnapshot, file: VectorFile) -> None:
    """Rows that were appended while the others were copied. Under the writer lock: no more will come."""
    now = collection.state()
    have = snapshot.images + snapshot.deleted
    rows_ND = VectorFile(collection.folder, collection.dim, now.file_set).read(now.rows)
    file.write(np.asarray(rows_ND[have:]), at=snapshot.images)


def _remove_old_file_sets(folder: Path, file_set: int) -> None:
    """Files of file sets that have ended, or never began. Readers keep those they have mapped."""
    for name in ("vectors.f16", "slots.i64"):
        stem, _, ending = name.partition(".")
        for path in folder.glob(f"{stem}*.{ending}"):
            if path.name != of_file_set(name, file_set):
                with writing(path):
                    path.unlink(missing_ok=True)
