"""Which index is in force: a manifest names its immutable files and their checksums.

An index is never trusted and never the truth: when anything about it is wrong it is ignored, the collection
is scanned exactly, and the next build replaces it. Each file set (see `indexer.disk.slots`) has its own
manifest, so that the index changes in the same moment as the rows.

Rows that come after a build are put into the lists of an inverted file by their writer, a segment at
a time. Neighbours of equal size become one, so there are few: a segment of 2^i pieces for each bit of their
number.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.build import Watch, build
from indexer.ann.calibrate import calibrate
from indexer.ann.flat import Flat
from indexer.ann.gpu import Gpu, Placed, load_cagra, place
from indexer.ann.hnsw import Hnsw
from indexer.ann.index import ActiveIndex, Calibration, Extendable, Family
from indexer.ann.ivf import Ivf
from indexer.ann.manifest import IndexFile, Manifest, SegmentFile
from indexer.ann.rows import Rows
from indexer.ann.segment import Segment
from indexer.disk.faults import reached
from indexer.disk.files import remove_tree, sync_file, sync_folder, writing
from indexer.disk.vectors import of_file_set
from indexer.errors import CorruptStoreError, UnavailableError

LOG = logging.getLogger("kallos.index")


# Rows: scanned within 0.3 ms (512 numbers), and worth the writing of a file and a manifest.
SEGMENT_ROWS = 4096
MOST_AT_ONCE = 8  # times as many are put into lists in one turn, in which there is no other writer
RETRY_S = 60.0  # until files that could not be read are tried again: too many were open, perhaps
MAX_CATCH_UP_ROUNDS = 4  # looks of a build at what was added meanwhile


@dataclass(frozen=True, slots=True)
class FileId:
    """Tells one manifest file from another without reading it: each is a new file."""

    file_set: int
    inode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a manifest names, open; of its segments as many as are whole."""

    manifest: Manifest
    placed: Placed
    segments: tuple[Segment, ...]
    index: ActiveIndex

    @classmethod
    def of(cls, manifest: Manifest, placed: Placed, segments: tuple[Segment, ...] = ()) -> "Loaded":
        base = placed.generator.extendable
        generator = placed.generator if base is None or not segments else base.followed_by(segments)
        known = Calibration(manifest.calibration)
        index = ActiveIndex(manifest.family, generator, known, manifest.built, placed.where)
        return cls(manifest, placed, segments, index)


class IndexStore:
    """Loads, builds, extends and swaps the index of one collection; on `gpu` where there is one.

    Rows behind an index that is not extendable (see `indexer.ann.index`) have no segments.
    """

    def __init__(self, folder: Path, gpu: Gpu | None = None, segment_rows: int = SEGMENT_ROWS) -> None:
        self._folder = folder
        self.gpu = gpu
        self._segment_rows = segment_rows
        self._loading = (
            Lock()
        )  # held while files are read, which may take seconds: a search never waits for it
        self._is_first = True
        # Replaced as a whole, so that it is read without a lock.
        self._in_force: tuple[FileId, Loaded] | None = None
        self._rejected: FileId | None = None  # a manifest that failed
        self._again_at = math.inf  # on the monotonic clock: something could not be read

    def current(self, file_set: int) -> tuple[ActiveIndex | None, bool]:
        """The index that `load` has brought into force, or None; and whether there is something to load.

        It may cover rows published since. While another is read, it is the one before: that covers rows that
        do not change.
        """
        in_force = self._in_force
        try:
            listed = self._listed(file_set)
        except FileNotFoundError:
            self._is_first = False
            return None, False
        known = None if in_force is None else in_force[0]
        is_due = listed not in (known, self._rejected) or time.monotonic() >= self._again_at
        if in_force is None or in_force[0].file_set != file_set or listed == self._rejected:
            return None, is_due
        return in_force[1].index, is_due

    def load(self, rows: Rows, file_set: int) -> bool:
        """Read what the manifest names, unless it is in force; whether `current` answers otherwise now.

        False at once while another thread is at it: searches go on as before. Only the first call of all
        waits, since scanning all rows of a cold disk takes longer than reading an index over them.
        """
        in_force, rejected = self._in_force, self._rejected
        if not self._loading.acquire(blocking=self._is_first):
            return False
        try:
            self._current(rows, file_set)
            self._is_first = False
        finally:
            self._loading.release()
        return self._in_force is not in_force or self._rejected != rejected

    def manifest(self, file_set: int) -> Manifest:
        """FileNotFoundError when nothing was built; CorruptStoreError when it cannot be read."""
        return Manifest.read(self._path(file_set))

    def build(
        self,
        rows: Rows,
        family: Family,
        *,
        file_set: int,
        generation: int,
        model_id: str,
        watch: Watch,
        turn: AbstractContextManager[None],
        newest: Callable[[], Rows],
        suffix: str = "",
        asked_QD: "Float32[ndarray, 'q d'] | None" = None,
    ) -> Manifest:
        """Build beside, then swap by renaming the manifest. Readers keep theirs until they look again.

        What a stopped or killed build had finished is found again, as long as the rows are the same.

        Args:
            rows: What it is built over; at least one.
            family: Of the index.
            file_set: Of the rows.
            generation: Of the collection.
            model_id: Of the collection.
            watch: Hears of every step.
            turn: The writer's: no other thread or process changes the manifest meanwhile.
            newest: `rows`, and those that were added behind them since.
            suffix: Tells these rows from as many others of the file set.
            asked_QD: Queries as people ask them, for the calibration.
        """
        work = self._folder / f"build-{file_set}-{len(rows)}{suffix}"
        self.remove_work(except_for=work)
        made = build(rows, family, work, watch, self.gpu)
        file = self._saved(made.save, "index")
        reached("index-renamed")
        # Calibrated as it will be searched: loaded from its file.
        placed = _load(self._folder / file.name, family, rows, self.gpu)
        calibration = calibrate(placed.generator, rows, asked_QD, lambda: watch.step("calibration", 0, 0))
        manifest = Manifest(
            index=file.name,
            family=family,
            built=made.built,
            generation=generation,
            calibration=calibration.points,
            bytes=file.bytes,
            sha256=file.sha256,
            dim=rows.dim,
            model_id=model_id,
        )
        caught_up = self._caught_up(Loaded.of(manifest, placed), newest, watch)
        with turn:
            self.put(caught_up.manifest, file_set)
        reached("manifest-renamed")
        return manifest

    def extend(self, rows: Rows, file_set: int) -> bool:
        """Put rows behind the index in force into its lists, the first of many; False when they are few.

        Under the writer lock. Searches see it when they look again; nothing that they use is changed.
        """
        try:
            listed = self.manifest(file_set)
        except (FileNotFoundError, CorruptStoreError):
            return False
        on_cpu = listed.family == "ivf_rabitq" or (listed.family == "ivf_sq8" and self.gpu is None)
        if not on_cpu or len(rows) - listed.covered < self._segment_rows:
            return False
        with self._loading:
            loaded = self._current(rows, file_set)
        if loaded is None or not self._has_many(loaded, rows):
            return False
        extended = self._extended(loaded, rows).manifest
        self.put(extended, file_set)
        reached("segment-listed")
        for gone in {one.file.name for one in listed.segments} - {file.name for file in extended.files()}:
            (self._folder / gone).unlink(missing_ok=True)
        return True

    def put(self, manifest: Manifest, file_set: int) -> None:
        """Bring an index into force whose files are there. Under the writer lock."""
        manifest.replace(self._path(file_set), before=lambda: reached("manifest-written"))

    def drop(self, file_set: int) -> None:
        """Go back to scanning exactly. Under the writer lock."""
        with writing(self._path(file_set)):
            self._path(file_set).unlink(missing_ok=True)
            sync_folder(self._folder)

    def sweep(self, file_set: int) -> None:
        """Remove what unfinished and replaced builds left. Under the writer lock."""
        for path in self.strays(file_set):
            with writing(path):
                path.unlink(missing_ok=True)
        self.remove_work()

    def strays(self, file_set: int) -> list[Path]:
        """Files of unfinished or replaced builds."""
        kept = {self._path(file_set)}
        with suppress(FileNotFoundError, CorruptStoreError):  # then no index is in force
            kept |= {self._folder / file.name for file in self.manifest(file_set).files()}
        ours = ("index-*.faiss*", "segment-*.faiss*", "manifest*.json*")
        return sorted({path for name in ours for path in self._folder.glob(name)} - kept)

    def _current(self, rows: Rows, file_set: int) -> Loaded | None:
        try:
            file_id = self._listed(file_set)
        except FileNotFoundError:
            return None
        known = None if self._in_force is None else self._in_force[0]
        if file_id in (self._rejected, known) and time.monotonic() < self._again_at:
            return None if file_id == self._rejected or self._in_force is None else self._in_force[1]
        self._rejected, self._again_at = None, math.inf
        try:
            manifest = self.manifest(file_set)
        except FileNotFoundError:
            return None
        except (CorruptStoreError, OSError) as error:
            self._reject(file_id, error)
            return None
        try:
            loaded = self._open(manifest, rows, file_set)
        except (CorruptStoreError, UnavailableError, OSError) as error:
            if self._replaced(manifest, file_set):  # by another process, while we looked: look again
                return self._current(rows, file_set)
            self._reject(file_id, error)
            return None
        self._in_force = file_id, loaded
        return loaded

    def _open(self, manifest: Manifest, rows: Rows, file_set: int) -> Loaded:
        """What is open already is not read again."""
        before = None if self._in_force is None else self._in_force[1]
        if before is None or before.manifest.base != manifest.base:
            manifest.base.check(self._folder)
            placed, known = _load(self._folder / manifest.index, manifest.family, rows, self.gpu), {}
        else:
            placed = before.placed
            names = (one.file.name for one in before.manifest.segments)
            known = dict(zip(names, before.segments, strict=False))
        if placed.generator.built != manifest.built:
            raise CorruptStoreError(
                f"{manifest.index} holds {placed.generator.built} rows: its manifest says {manifest.built}"
            )
        segments: list[Segment] = []
        base = placed.generator.extendable
        if base is not None:
            try:
                for segment in self._segments(manifest, base, known):
                    segments.append(segment)  # noqa: PERF402 - those before a damaged one count
            except (CorruptStoreError, OSError) as error:
                if self._replaced(manifest, file_set):
                    raise
                self._look_again(error)
                end = segments[-1].end if segments else manifest.built
                LOG.warning("scanning all rows behind %d, the next segment covers them: %s", end, error)
        return Loaded.of(manifest, placed, tuple(segments))

    def _segments(self, manifest: Manifest, base: Extendable, known: dict[str, Segment]) -> Iterator[Segment]:
        first = manifest.built
        for listed in manifest.segments:
            segment = known.get(listed.file.name)
            if segment is None:
                listed.file.check(self._folder)
                segment = base.load_segment(self._folder / listed.file.name, first)
            if (segment.first, segment.end) != (first, listed.end):
                raise CorruptStoreError(f"{listed.file.name} does not end where its manifest says")
            yield segment
            first = segment.end

    def _has_many(self, loaded: Loaded, rows: Rows) -> bool:
        """Whether a segment is due."""
        is_few = len(rows) - loaded.index.covered_rows < self._segment_rows
        return not is_few and loaded.placed.generator.extendable is not None

    def _caught_up(self, loaded: Loaded, newest: Callable[[], Rows], watch: Watch) -> Loaded:
        """With segments for what was added during a build: as far as it gets, should that go on."""
        for _ in range(MAX_CATCH_UP_ROUNDS):
            rows = newest()
            while self._has_many(loaded, rows):
                loaded = self._extended(loaded, rows)
                watch.step("rows", loaded.index.covered_rows, len(rows))
        return loaded

    def _extended(self, loaded: Loaded, rows: Rows) -> Loaded:
        """With one segment more, written and not yet in force; it takes up neighbours that are no larger."""
        base, first = loaded.placed.generator.extendable, loaded.index.covered_rows
        assert base is not None
        end = min(len(rows), first + MOST_AT_ONCE * self._segment_rows)
        kept, merged = list(loaded.segments), list[Segment]()
        while kept and kept[-1].end - kept[-1].first <= end - (merged[0].first if merged else first):
            merged.insert(0, kept.pop())
        made = base.segment(rows, first, end, merged)
        file = self._saved(made.save, "segment")
        reached("segment-renamed")
        listed = SegmentFile(end, file)
        manifest = replace(loaded.manifest, segments=(*loaded.manifest.segments[: len(kept)], listed))
        segments = (*kept, base.load_segment(self._folder / file.name, made.first))
        return Loaded.of(manifest, loaded.placed, segments)

    def _saved(self, save: Callable[[Path], None], what: str) -> IndexFile:
        """A file that has its name when it is on disk, so that under its name it is always whole.

        Named by its content: what a backup has under this name is this.
        """
        beside = self._folder / f"{what}-{secrets.token_hex(8)}.faiss.part"
        with writing(beside.with_suffix(""), beside=beside):
            save(beside)
            file = IndexFile.of(beside)
            file = replace(file, name=f"{what}-{file.sha256[:24]}.faiss")
            sync_file(beside)
            reached(f"{what}-written")
            beside.replace(self._folder / file.name)
            sync_folder(self._folder)
        return file

    def _listed(self, file_set: int) -> FileId:
        """FileNotFoundError when there is no manifest."""
        stat = self._path(file_set).stat()
        return FileId(file_set, stat.st_ino, stat.st_mtime_ns)

    def _replaced(self, manifest: Manifest, file_set: int) -> bool:
        try:
            return self.manifest(file_set) != manifest
        except (OSError, CorruptStoreError):
            return False

    def _path(self, file_set: int) -> Path:
        return self._folder / of_file_set("manifest.json", file_set)

    def remove_work(self, except_for: Path | None = None) -> None:
        """Finished steps of builds that were stopped."""
        folders: Iterable[Path] = self._folder.glob("build-*")
        for folder in folders:
            if folder != except_for:
                remove_tree(folder)

    def _reject(self, file_id: FileId, error: Exception) -> None:
        self._rejected = file_id
        self._look_again(error)
        how_long = "until the next `kallos compact`" if self._again_at == math.inf else f"for {RETRY_S:g} s"
        LOG.warning("searching without an index %s: %s", how_long, error)

    def _look_again(self, error: Exception) -> None:
        """After a while, unless it is damaged: that does not pass."""
        if isinstance(error, OSError):
            self._again_at = time.monotonic() + RETRY_S


def _load(path: Path, family: Family, rows: Rows, gpu: Gpu | None) -> Placed:
    """An index whose checksum has been checked. A graph needs as many rows as it was built over."""
    match family:
        case "flat":
            return place(Flat.load(path, rows), gpu)
        case "cagra":
            return load_cagra(path, rows, gpu)
        case "hnsw":
            return Placed(Hnsw.load(path, rows), "cpu")
        case "ivf_sq8":
            return place(Ivf.load(path, rows.pool), gpu)
        case "ivf_rabitq":
            return Placed(Ivf.load(path, rows.pool), "cpu")  # FAISS has no such kernel
