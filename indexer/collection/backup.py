"""A copy of a data directory that is whole, made while others read and write.

Everything but the database is written once and never changed, so a backup into the same folder again copies
only what is new. The database changes over in one step, and only then the name of the index, which may cover
pictures that the database before did not know: a backup that was killed is whole, and the one before it.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from indexer.ann.manifest import Manifest
from indexer.blobs.deployed import CURRENT, DeployedStore, parse_state
from indexer.collection.collection import DATABASE
from indexer.collection.index_store import IndexStore
from indexer.collection.verify import MODEL_UNNAMED, verify
from indexer.disk.faults import reached
from indexer.disk.files import replace_text, sync_file, sync_folder, writing
from indexer.disk.ids import BYTES as ID_BYTES
from indexer.disk.ids import NAME as IDS
from indexer.disk.lock import WriterLock
from indexer.disk.vectors import BYTES, VectorFile, of_file_set
from indexer.errors import ConflictError, CorruptStoreError, NotFoundError
from indexer.tables.collections import State, birth, names
from indexer.tables.database import Database

SHARED = ("originals", "thumbnails")  # content-addressed: a name that is there has the right bytes
COPYING = ".copy"  # ends the name of a file that is not whole yet
CHUNK = 1 << 24
LOOKED_AT = 1024  # rows that tell one past from another: the last is always among them
WAIT_S = 600.0  # for a compaction to end


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What now lies in the backup, and how much of it had to be copied."""

    images: int
    files_copied: int
    bytes_copied: int
    seconds: float


def backup(data_dir: Path, target: Path, *, tell: Callable[[str], None] = lambda _: None) -> BackupReport:
    """Copy `data_dir` into `target`, made when missing; only what a backup there does not have yet.

    Every picture acknowledged before the call is in it. Reclaiming space waits until it is done.

    Raises:
        NotFoundError: `data_dir` holds no data.
        ConflictError: `target` holds something that is not a backup of it.
    """
    started = time.monotonic()
    if not (data_dir / DATABASE).is_file():
        raise NotFoundError(f"{data_dir} holds no Kallos data: {DATABASE} is missing")
    _check_target(data_dir, target)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    copier = _Copier(tell)
    database = Database(data_dir / DATABASE)
    try:
        with writing(target, beside=target / f"{DATABASE}.part"), ExitStack() as stack:
            with database.read() as connection:
                collections = names(connection)
            for name in collections:
                stack.enter_context(WriterLock(data_dir / name / "compact.lock", wait_s=WAIT_S).held())
            _check_past(data_dir, database, target)
            with database.read() as connection:
                file_sets = {name: State.read(connection, name).file_set for name in collections}
            # Before the database, so that no index covers pictures which it does not know.
            indexes = {
                name: copier.index(data_dir / name, target / name, file_set)
                for name, file_set in file_sets.items()
            }
            # Twice: before the database, what may be deleted meanwhile; after it, what was added meanwhile.
            copier.shared(data_dir, target)
            beside = target / f"{DATABASE}.part"
            beside.unlink(missing_ok=True)
            database.copy_to(beside)
            copied = Database(beside)
            try:
                with copied.read() as connection:
                    states = {name: State.read(connection, name) for name in names(connection)}
                    (images,) = connection.execute("SELECT count(*) FROM image").fetchone()
            finally:
                copied.close()
            copier.shared(data_dir, target)
            for name, state in states.items():
                copier.collection(data_dir / name, target / name, state)
            copier.generators(DeployedStore(data_dir), DeployedStore(target))
            reached("backup-copied")
            _publish(beside, target / DATABASE)
            for name, state in states.items():
                _publish_index(target / name, state.file_set, indexes.get(name))
                _remove_others(target / name, state.file_set)
    finally:
        database.close()
    return BackupReport(int(images), copier.files, copier.bytes, time.monotonic() - started)


def restore(source: Path, data_dir: Path, *, tell: Callable[[str], None] = lambda _: None) -> BackupReport:
    """Make `data_dir`, which must be missing or empty, what `source` was when it was backed up.

    Raises:
        CorruptStoreError: The backup is damaged; nothing was written.
        ConflictError: There is something in `data_dir`.
    """
    started = time.monotonic()
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ConflictError(f"{data_dir} is not empty: restore into a new folder, then move it there")
    report = verify(source, full=True)
    damages = [it for it in report.problems if it.code != MODEL_UNNAMED]  # that one can be mended afterwards
    if damages:
        first = damages[0]
        raise CorruptStoreError(f"{source} is damaged: {first.code}: {first.where}: {first.message}")
    copier = _Copier(tell)
    with writing(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.rglob("*")):
            # Not what a backup that was killed has left: its database may be as long as the one that counts.
            if path.is_file() and not path.name.startswith(DATABASE) and path.suffix != COPYING:
                copier.file(path, data_dir / path.relative_to(source))
        beside = data_dir / f"{DATABASE}.part"
        copier.file(source / DATABASE, beside)
        _publish(beside, data_dir / DATABASE)
    return BackupReport(report.checked["images"], copier.files, copier.bytes, time.monotonic() - started)


def _check_target(data_dir: Path, target: Path) -> None:
    inside = target.resolve()
    if inside == data_dir.resolve() or data_dir.resolve() in inside.parents:
        raise ConflictError(f"{target} lies inside {data_dir}: a backup of it must not")
    if target.exists() and any(target.iterdir()):
        known = {DATABASE, f"{DATABASE}.part", *SHARED}
        if not any((target / name).exists() for name in known):
            raise ConflictError(f"{target} is not empty, and what it holds is not a backup")


def _check_past(data_dir: Path, database: Database, target: Path) -> None:
    """ConflictError when `target` is a backup of other data, or of what these went on to be elsewhere."""
    if not (target / DATABASE).is_file():
        return
    with closing(Database(target / DATABASE)) as kept, kept.read() as theirs, database.read() as ours:
        known = names(ours)
        for name in names(theirs):
            is_past = name in known and birth(theirs, name) == birth(ours, name)
            if is_past:
                old, new = State.read(theirs, name), State.read(ours, name)
                is_past = _goes_on(old, new, target / name, data_dir / name)
            if not is_past:
                raise ConflictError(f"{target} is a backup of other data than {data_dir}: give a new folder")


def _goes_on(old: State, new: State, old_folder: Path, new_folder: Path) -> bool:
    """Whether `new` begins with the rows of `old`: LOOKED_AT of them tell."""
    if old.file_set != new.file_set:
        return old.file_set < new.file_set  # another file, which is copied whole
    if old.rows > new.rows:
        return False
    row_N = np.unique(np.linspace(0, max(old.rows - 1, 0), min(old.rows, LOOKED_AT)).astype(np.int64))
    first, second = (
        VectorFile(folder, old.dim, old.file_set).read(old.rows)[row_N].view(np.uint16)
        for folder in (old_folder, new_folder)
    )
    return np.array_equal(first, second)


class _Copier:
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.files = 0
        self.bytes = 0

    def shared(self, data_dir: Path, target: Path) -> None:
        for folder in SHARED:
            for path in sorted((data_dir / folder).rglob("*")):
                if path.is_file() and path.suffix != ".part":
                    self.file(path, target / path.relative_to(data_dir))

    def generators(self, source: DeployedStore, target: DeployedStore) -> None:
        """Those that are in force or can be again, then what says so. A folder is never changed."""
        current = source.root / CURRENT
        if not current.is_file():
            return
        text = current.read_text("utf-8")
        for id_ in set(parse_state(text, current).ids):
            for path in sorted(source.folder(id_).rglob("*")):
                if path.is_file():
                    self.file(path, target.folder(id_) / path.relative_to(source.folder(id_)))
        replace_text(target.root / CURRENT, text)
        self._count(str(target.root / CURRENT), len(text))

    def collection(self, folder: Path, target: Path, state: State) -> None:
        target.mkdir(parents=True, exist_ok=True)
        vectors = of_file_set("vectors.f16", state.file_set)
        if (folder / vectors).exists():
            self._tail(folder / vectors, target / vectors, state.rows * state.dim * BYTES)
        if (folder / IDS).exists():
            known = min(state.slots * ID_BYTES, (folder / IDS).stat().st_size // ID_BYTES * ID_BYTES)
            self._tail(folder / IDS, target / IDS, known)
        for name in ("model", of_file_set("slots.i64", state.file_set)):
            if (folder / name).is_file():
                self.file(folder / name, target / name)

    def index(self, folder: Path, target: Path, file_set: int) -> Manifest | None:
        """Copy the files of the index in force: as many of its segments as no writer replaces meanwhile."""
        try:
            manifest = IndexStore(folder).manifest(file_set)
        except (FileNotFoundError, CorruptStoreError):  # nothing there, or nothing that anybody could use
            return None
        copied = 0
        for file in manifest.files():
            self.file(folder / file.name, target / file.name)
            if not (target / file.name).is_file():
                break
            copied += 1
        return replace(manifest, segments=manifest.segments[: copied - 1]) if copied else None

    def file(self, path: Path, target: Path) -> None:
        """Copy `path`, unless `target` is there with as many bytes."""
        try:
            source = path.open("rb")
        except FileNotFoundError:
            return  # deleted while we looked: the database that is copied does not know it
        with source:
            size = os.fstat(source.fileno()).st_size
            if target.exists() and target.stat().st_size == size:
                return
            beside = target.with_name(target.name + COPYING)
            with writing(target, beside=beside):
                target.parent.mkdir(parents=True, exist_ok=True)
                with beside.open("wb") as out:
                    shutil.copyfileobj(source, out, CHUNK)
                sync_file(beside)
                beside.replace(target)
        self._count(str(target), size)

    def _tail(self, path: Path, target: Path, size: int) -> None:
        """Rows are only ever appended: copy those that `target` does not have."""
        have = target.stat().st_size if target.exists() else 0
        start = min(have, size)
        with writing(target):
            try:
                self._append(path, target, start, size)
            except OSError:
                with target.open("r+b") as out:  # or a full disk would stay so
                    out.truncate(start)
                raise
        if size > have:
            self._count(str(target), size - have)

    @staticmethod
    def _append(path: Path, target: Path, start: int, size: int) -> None:
        with path.open("rb") as source, target.open("r+b" if target.exists() else "wb") as out:
            source.seek(start)
            out.seek(start)
            left = size - start
            while left:
                block = source.read(min(CHUNK, left))
                if not block:
                    raise CorruptStoreError(f"{path} ends {left} bytes before its published rows do")
                out.write(block)
                left -= len(block)
            out.truncate(size)
            out.flush()
            os.fsync(out.fileno())

    def _count(self, what: str, size: int) -> None:
        self.files += 1
        self.bytes += size
        self._tell(what)


def _publish(beside: Path, path: Path) -> None:
    sync_file(beside)
    for ending in ("-wal", "-shm"):  # of the database before: it must not be applied to this one
        path.with_name(path.name + ending).unlink(missing_ok=True)
    beside.replace(path)
    sync_folder(path.parent)


def _publish_index(folder: Path, file_set: int, manifest: Manifest | None) -> None:
    """Which index is in force; the others are deleted."""
    index_store = IndexStore(folder)
    if manifest is None:
        index_store.drop(file_set)
    else:
        index_store.put(manifest, file_set)
    index_store.sweep(file_set)


def _remove_others(folder: Path, file_set: int) -> None:
    """Rows and manifests of file sets that the new database does not speak of."""
    for name in ("vectors.f16", "slots.i64", "manifest.json"):
        stem, _, ending = name.partition(".")
        for path in folder.glob(f"{stem}*.{ending}"):
            if path.name != of_file_set(name, file_set):
                path.unlink()
