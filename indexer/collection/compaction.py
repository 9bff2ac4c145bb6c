"""Keeping a collection fast and small: build its index anew, and give back the space of deleted pictures.

Reading and writing go on meanwhile. A new index lies beside the old one until it is whole. Space is reclaimed
by writing the rows that are still needed into a new epoch (see `indexer.disk.slots`), with its own index: one
transaction then changes over, and readers that are still at work keep the files they have open.
"""

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from indexer.collection.view import View
from indexer.disk.faults import reached
from indexer.disk.files import size_of, sync_file, sync_folder
from indexer.disk.lock import WriterLock
from indexer.disk.vectors import VectorFile, of_epoch
from indexer.errors import BusyError
from indexer.tables import collections as states
from indexer.tables.collections import State

TAIL_SHARE = 0.2  # of the rows that the index was built over: more that came later are worth a new one
DEAD_SHARE = 0.2  # of all rows: more deleted ones are worth a new file
FEWEST = 10_000  # rows: smaller collections are scanned in a millisecond whatever their state
CHUNK = 16_384
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
    """`family` None means that this collection is scanned exactly. `freed_bytes` were given back."""

    family: Family | None
    built: int
    reclaimed: int
    freed_bytes: int
    seconds: float


def plan_for(collection: Collection, aims: Aims) -> Plan:
    gpu = collection.snapshots.gpu
    return plan(
        collection.view().images,
        collection.dim,
        memory_bytes=aims.memory_bytes,
        latency_ms=aims.latency_ms,
        gpu=gpu is not None,
        cagra=gpu is not None and gpu.has_cagra,
    )


def is_due(collection: Collection, aims: Aims) -> bool:
    """Whether the collection has outgrown its index, or drags too many deleted pictures along."""
    view = collection.view()
    rows = view.images + view.deleted
    if rows < FEWEST:
        return False
    if view.deleted > DEAD_SHARE * rows:
        return True
    return plan_for(collection, aims).family is not None and rows - view.base > TAIL_SHARE * view.base


def compact(
    collection: Collection,
    aims: Aims,
    *,
    family: Family | None = None,
    reclaim: bool | None = None,
    watch: Watch | None = None,
) -> CompactReport:
    """Build the index, and give back space when enough of it is dead, or `reclaim` says so.

    Args:
        collection: Stays readable and writable.
        aims: What to choose the family for, unless `family` names it.
        family: One to build whatever the plan says.
        reclaim: True, False, or None for "when more than DEAD_SHARE of the rows are deleted".
        watch: Hears of every step, and may stop the work: the next call goes on from there.

    Raises:
        BuildStopped: `watch` asked for it; the collection is as it was.
        BusyError: Another process is compacting this collection, or a backup of it does not end.
    """
    started = time.monotonic()
    watch = watch or Watch()
    with _its_turn(collection.folder, watch), in_background(aims.threads):
        before = size_of(collection.folder)
        view = collection.view()
        chosen = family or plan_for(collection, aims).family
        if reclaim is None:
            reclaim = view.deleted > DEAD_SHARE * (view.images + view.deleted)
        if reclaim and view.deleted:
            built = _reclaim(collection, view, chosen, aims, watch)
            reclaimed = view.deleted
        else:
            built = _build(collection, collection.state(), chosen, aims, watch)
            reclaimed = 0
        epoch = collection.state().epoch
        with collection.writer.held():
            collection.snapshots.sweep(epoch)
        _remove_old_epochs(collection.folder, epoch)
        while not watch.should_stop() and collection.extend_index():  # a turn each: others write in between
            watch.tell("rows", collection.view().built, collection.state().rows)
        freed = before - size_of(collection.folder)
    return CompactReport(chosen if built else None, built, reclaimed, freed, time.monotonic() - started)


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
    collection: Collection, state: State, family: Family | None, aims: Aims, watch: Watch, mark: str = ""
) -> int:
    """Index the published rows of `state`'s epoch; how many it covers."""
    if family is None or state.rows == 0:
        with collection.writer.held():
            collection.snapshots.drop(state.epoch)
        return 0
    file = VectorFile(collection.folder, collection.dim, state.epoch)
    rows = Rows(file.read(state.rows))

    def newest() -> Rows:
        now = collection.state()  # of another epoch while space is being reclaimed
        return Rows(file.read(now.rows)) if now.epoch == state.epoch else rows

    manifest = collection.snapshots.build(
        rows,
        family,
        epoch=state.epoch,
        generation=state.generation,
        model_id=collection.model_id,
        watch=watch,
        turn=collection.writer.held(),
        newest=newest,
        mark=mark,
        asked_QD=aims.asked_QD,
    )
    return manifest.built


def _reclaim(collection: Collection, view: View, family: Family | None, aims: Aims, watch: Watch) -> int:
    """Begin a new epoch without the rows that `view` knows to be dead; how many rows its index covers."""
    state = collection.state()
    epoch = state.epoch + 1
    live_slots_N = view.slots_in(view.live())
    file = VectorFile(collection.folder, collection.dim, epoch)
    _copy_live(collection, view, file.path, watch)
    slots_path = collection.folder / of_epoch("slots.i64", epoch)
    slots_path.write_bytes(live_slots_N.astype("<i8").tobytes())
    sync_file(slots_path)
    sync_folder(collection.folder)
    reached("epoch-copied")
    after = State(
        collection.model_id, collection.dim, view.slots, view.generation, epoch, view.images, view.slots
    )
    mark = f"-{zlib.crc32(live_slots_N.tobytes()):08x}"  # as many others may be alive next time
    built = _build(collection, after, family, aims, watch, mark)
    dead_N = np.setdiff1d(np.arange(view.slots), live_slots_N, assume_unique=True)
    with collection.writer.held():
        _copy_new(collection, view, file)
        reached("epoch-caught-up")
        with collection.database.write() as connection:
            collection.catalog.forget_tombstones(connection, dead_N.tolist())
            states.begin_epoch(
                connection, collection.name, epoch=epoch, kept_rows=view.images, next_slot=view.slots
            )
        reached("epoch-begun")
    return built


def _copy_live(collection: Collection, view: View, path: Path, watch: Watch) -> None:
    with path.open("wb") as out:
        for block_BD in view.live_rows(CHUNK):
            out.write(block_BD.tobytes())
            watch.step("copy", out.tell() // (2 * collection.dim), view.images)
        out.flush()
        os.fsync(out.fileno())


def _copy_new(collection: Collection, view: View, file: VectorFile) -> None:
    """Rows that were appended while the others were copied. Under the writer lock: no more will come."""
    now = collection.state()
    have = view.images + view.deleted
    rows_ND = VectorFile(collection.folder, collection.dim, now.epoch).read(now.rows)
    file.write(np.asarray(rows_ND[have:]), at=view.images)


def _remove_old_epochs(folder: Path, epoch: int) -> None:
    """Files of epochs that have ended, or never began. Who has them mapped keeps them until they let go."""
    for name in ("vectors.f16", "slots.i64"):
        stem, _, ending = name.partition(".")
        for path in folder.glob(f"{stem}*.{ending}"):
            if path.name != of_epoch(name, epoch):
                path.unlink(missing_ok=True)
