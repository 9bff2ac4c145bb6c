"""Which index is in force: a manifest names its immutable files and their checksums.

An index is never trusted and never the truth: when anything about it is wrong it is ignored, the
collection is scanned exactly, and the next build replaces it. Each epoch (see `indexer.disk.slots`) has its
own manifest, so that the index changes in the same moment as the rows.

Rows that come after a build are put into the lists of an inverted file by whoever writes them, a segment at
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
from indexer.ann.index import Calibration, Family, Snapshot
from indexer.ann.ivf import Ivf
from indexer.ann.rows import Rows
from indexer.ann.segment import Segment
from indexer.disk.faults import reached
from indexer.disk.files import remove_tree, sync_file, sync_folder
from indexer.disk.manifest import IndexFile, Manifest, SegmentFile
from indexer.disk.vectors import of_epoch
from indexer.errors import CorruptStoreError, UnavailableError

LOG = logging.getLogger("kallos.index")


# Rows: scanned within 0.3 ms (512 numbers), and worth the writing of a file and a manifest.
SEGMENT_ROWS = 4096
MOST_AT_ONCE = 8  # times as many are put into lists in one turn, in which nobody else writes
RETRY_S = 60.0  # until files that could not be read are tried again: too many were open, perhaps
CATCH_UPS = 4  # looks of a build at what was added meanwhile


@dataclass(frozen=True, slots=True)
class Mark:
    """Tells one manifest file from another without reading it: each is a new file."""

    epoch: int
    inode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a manifest names, open; of its segments as many as are whole."""

    manifest: Manifest
    placed: Placed
    segments: tuple[Segment, ...]
    snapshot: Snapshot

    @classmethod
    def of(cls, manifest: Manifest, placed: Placed, segments: tuple[Segment, ...] = ()) -> "Loaded":
        proposer = placed.proposer
        if isinstance(proposer, Ivf) and segments:
            proposer = proposer.followed_by(segments)
        known = Calibration(manifest.calibration)
        snapshot = Snapshot(manifest.family, proposer, known, manifest.built, placed.where)
        return cls(manifest, placed, segments, snapshot)


class SnapshotStore:
    """Loads, builds, extends and swaps the index of one collection; on `gpu` where there is one.

    There, and beside an index that is no inverted file, rows behind it have no segments.
    """

    def __init__(self, folder: Path, gpu: Gpu | None = None, segment_rows: int = SEGMENT_ROWS) -> None:
        self._folder = folder
        self.gpu = gpu
        self._segment_rows = segment_rows
        self._lock = Lock()
        self._loaded: Loaded | None = None
        self._mark: Mark | None = None  # of the manifest that named it
        self._rejected: Mark | None = None  # a manifest that failed
        self._again_at = math.inf  # on the monotonic clock: something could not be read

    def current(self, rows: Rows, epoch: int) -> Snapshot | None:
        """The index in force, or None. It may cover rows that were published after `rows`."""
        with self._lock:
            loaded = self._current(rows, epoch)
        return None if loaded is None else loaded.snapshot

    def manifest(self, epoch: int) -> Manifest:
        """FileNotFoundError when nothing was built; CorruptStoreError when it cannot be read."""
        return Manifest.read(self._path(epoch))

    def build(
        self,
        rows: Rows,
        family: Family,
        *,
        epoch: int,
        generation: int,
        model_id: str,
        watch: Watch,
        turn: AbstractContextManager[None],
        newest: Callable[[], Rows],
        mark: str = "",
        asked_QD: "Float32[ndarray, 'q d'] | None" = None,
    ) -> Manifest:
        """Build beside, then swap by renaming the manifest. Readers keep theirs until they look again.

        What a stopped or killed build had finished is found again, as long as the rows are the same.

        Args:
            rows: What it is built over; at least one.
            family: Of the index.
            epoch: Of the rows.
            generation: Of the collection.
            model_id: Of the collection.
            watch: Hears of every step.
            turn: The writer's: nobody else changes the manifest meanwhile.
            newest: `rows`, and those that were added behind them since.
            mark: Tells these rows from as many others of the epoch.
            asked_QD: Queries as people ask them, for the calibration.
        """
        work = self._folder / f"build-{epoch}-{len(rows)}{mark}"
        self._remove_work(except_for=work)
        made = build(rows, family, work, watch, self.gpu)
        beside = self._folder / f"index-{secrets.token_hex(8)}.faiss.part"
        made.save(beside)
        # Named by its content: what a backup has under this name is this.
        path = self._named(beside, f"index-{IndexFile.of(beside).sha256[:24]}.faiss", "index-written")
        reached("index-renamed")
        # Calibrated as it will be searched: loaded from its file.
        placed = _load(path, family, rows, self.gpu)
        calibration = calibrate(placed.proposer, rows, asked_QD, lambda: watch.step("calibration", 0, 0))
        file = IndexFile.of(path)
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
            self.put(caught_up.manifest, epoch)
        reached("manifest-renamed")
        return manifest

    def extend(self, rows: Rows, epoch: int) -> bool:
        """Put rows behind the index in force into its lists, the first of many; False when they are few.

        Under the writer lock. Searches see it when they look again; nothing that they use is changed.
        """
        try:
            listed = self.manifest(epoch)
        except (FileNotFoundError, CorruptStoreError):
            return False
        on_cpu = listed.family == "ivf_rabitq" or (listed.family == "ivf_sq8" and self.gpu is None)
        if not on_cpu or len(rows) - listed.covered < self._segment_rows:
            return False
        with self._lock:
            loaded = self._current(rows, epoch)
        if loaded is None or not self._has_many(loaded, rows):
            return False
        extended = self._extended(loaded, rows).manifest
        self.put(extended, epoch)
        reached("segment-listed")
        for gone in {one.file.name for one in listed.segments} - {file.name for file in extended.files()}:
            (self._folder / gone).unlink(missing_ok=True)
        return True

    def put(self, manifest: Manifest, epoch: int) -> None:
        """Bring an index into force whose files are there. Under the writer lock."""
        manifest.replace(self._path(epoch), before=lambda: reached("manifest-written"))

    def drop(self, epoch: int) -> None:
        """Go back to scanning exactly. Under the writer lock."""
        self._path(epoch).unlink(missing_ok=True)
        sync_folder(self._folder)

    def sweep(self, epoch: int) -> None:
        """Remove what unfinished and replaced builds left. Under the writer lock."""
        for path in self.strays(epoch):
            path.unlink(missing_ok=True)
        self._remove_work(except_for=None)

    def strays(self, epoch: int) -> list[Path]:
        """Files of unfinished or replaced builds."""
        kept = {self._path(epoch)}
        with suppress(FileNotFoundError, CorruptStoreError):  # then no index is in force
            kept |= {self._folder / file.name for file in self.manifest(epoch).files()}
        ours = ("index-*.faiss*", "segment-*.faiss*", "manifest*.json*")
        return sorted({path for name in ours for path in self._folder.glob(name)} - kept)

    def _current(self, rows: Rows, epoch: int) -> Loaded | None:
        try:
            stat = self._path(epoch).stat()
        except FileNotFoundError:
            return None
        mark = Mark(epoch, stat.st_ino, stat.st_mtime_ns)
        if mark in (self._rejected, self._mark) and time.monotonic() < self._again_at:
            return None if mark == self._rejected else self._loaded
        self._rejected, self._again_at = None, math.inf
        try:
            manifest = self.manifest(epoch)
        except FileNotFoundError:
            return None
        except (CorruptStoreError, OSError) as error:
            self._reject(mark, error)
            return None
        try:
            loaded = self._open(manifest, rows, epoch)
        except (CorruptStoreError, UnavailableError, OSError) as error:
            if self._replaced(manifest, epoch):  # by another process, while we looked: look again
                return self._current(rows, epoch)
            self._reject(mark, error)
            return None
        self._mark, self._loaded = mark, loaded
        return loaded

    def _open(self, manifest: Manifest, rows: Rows, epoch: int) -> Loaded:
        """What is open already is not read again."""
        before = self._loaded
        if before is None or before.manifest.base != manifest.base:
            manifest.base.check(self._folder)
            placed, known = _load(self._folder / manifest.index, manifest.family, rows, self.gpu), {}
        else:
            placed = before.placed
            names = (one.file.name for one in before.manifest.segments)
            known = dict(zip(names, before.segments, strict=False))
        if placed.proposer.built != manifest.built:
            raise CorruptStoreError(
                f"{manifest.index} holds {placed.proposer.built} rows: its manifest says {manifest.built}"
            )
        segments: list[Segment] = []
        if isinstance(placed.proposer, Ivf):
            try:
                for segment in self._segments(manifest, placed.proposer, known):
                    segments.append(segment)  # noqa: PERF402 - those before a damaged one count
            except (CorruptStoreError, OSError) as error:
                if self._replaced(manifest, epoch):
                    raise
                self._look_again(error)
                end = segments[-1].end if segments else manifest.built
                LOG.warning("scanning all rows behind %d, the next segment covers them: %s", end, error)
        return Loaded.of(manifest, placed, tuple(segments))

    def _segments(self, manifest: Manifest, base: Ivf, known: dict[str, Segment]) -> Iterator[Segment]:
        first = manifest.built
        for listed in manifest.segments:
            segment = known.get(listed.file.name)
            if segment is None:
                listed.file.check(self._folder)
                segment = Segment.load(self._folder / listed.file.name, first, base.index)
            if (segment.first, segment.end) != (first, listed.end):
                raise CorruptStoreError(f"{listed.file.name} does not end where its manifest says")
            yield segment
            first = segment.end

    def _has_many(self, loaded: Loaded, rows: Rows) -> bool:
        """Whether a segment is due."""
        is_few = len(rows) - loaded.snapshot.built < self._segment_rows
        return not is_few and isinstance(loaded.placed.proposer, Ivf)

    def _caught_up(self, loaded: Loaded, newest: Callable[[], Rows], watch: Watch) -> Loaded:
        """With segments for what was added during a build: as far as it gets, should that go on."""
        for _ in range(CATCH_UPS):
            rows = newest()
            while self._has_many(loaded, rows):
                loaded = self._extended(loaded, rows)
                watch.step("rows", loaded.snapshot.built, len(rows))
        return loaded

    def _extended(self, loaded: Loaded, rows: Rows) -> Loaded:
        """With one segment more, written and not yet in force; it takes up neighbours that are no larger."""
        base, first = loaded.placed.proposer, loaded.snapshot.built
        assert isinstance(base, Ivf)
        end = min(len(rows), first + MOST_AT_ONCE * self._segment_rows)
        kept, merged = list(loaded.segments), list[Segment]()
        while kept and kept[-1].end - kept[-1].first <= end - (merged[0].first if merged else first):
            merged.insert(0, kept.pop())
        made = Segment.over(rows, first, end, base.index, merged)
        beside = self._folder / f"segment-{secrets.token_hex(8)}.faiss.part"
        made.save(beside)
        file = IndexFile.of(beside)
        # Named by its content: what a backup has under this name is this.
        path = self._named(beside, f"segment-{file.sha256[:24]}.faiss", "segment-written")
        reached("segment-renamed")
        listed = SegmentFile(end, replace(file, name=path.name))
        manifest = replace(loaded.manifest, segments=(*loaded.manifest.segments[: len(kept)], listed))
        segments = (*kept, Segment.load(path, made.first, base.index))
        return Loaded.of(manifest, loaded.placed, segments)

    def _named(self, beside: Path, name: str, written: str) -> Path:
        """Give a file its name when it is on disk, so that under its name it is always whole."""
        sync_file(beside)
        reached(written)
        path = self._folder / name
        beside.replace(path)
        sync_folder(self._folder)
        return path

    def _replaced(self, manifest: Manifest, epoch: int) -> bool:
        try:
            return self.manifest(epoch) != manifest
        except (OSError, CorruptStoreError):
            return False

    def _path(self, epoch: int) -> Path:
        return self._folder / of_epoch("manifest.json", epoch)

    def _remove_work(self, except_for: Path | None) -> None:
        folders: Iterable[Path] = self._folder.glob("build-*")
        for folder in folders:
            if folder != except_for:
                remove_tree(folder)

    def _reject(self, mark: "Mark", error: Exception) -> None:
        self._rejected = mark
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
