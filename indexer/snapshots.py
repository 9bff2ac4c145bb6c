"""Which index is in force: manifest.json names one immutable index-N.faiss and its checksum.

An index is never trusted and never the truth: when anything about it is wrong it is left aside, the
collection is scanned exactly, and the next build replaces it. Each epoch (see `indexer.slots`) has its own
manifest, so that the index changes in the same moment as the rows.
"""

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.build import Watch, build
from indexer.ann.calibrate import calibrate
from indexer.ann.flat import Flat
from indexer.ann.gpu import Gpu, Placed, load_cagra, place
from indexer.ann.hnsw import Hnsw
from indexer.ann.index import Calibration, Family, Point, Snapshot
from indexer.ann.ivf import Ivf
from indexer.ann.rows import Rows
from indexer.errors import CorruptStoreError, UnavailableError
from indexer.faults import reached
from indexer.files import remove_tree, replace_text, sha256_of_file, sync_file, sync_folder
from indexer.vectors import of_epoch

LOG = logging.getLogger("kallos.index")


@dataclass(frozen=True, slots=True)
class Manifest:
    """`index` is a file name in the same folder; `generation` that of the collection when it was built."""

    index: str
    family: Family
    built: int
    generation: int
    calibration: tuple[Point, ...]
    bytes: int
    sha256: str
    dim: int
    model_id: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Tells one manifest file from another without reading it: each is a new file."""

    epoch: int
    inode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The index that a manifest named."""

    mark: Mark
    snapshot: Snapshot

    def over(self, rows: Rows) -> Snapshot | None:
        """None for a reader who is older than the index."""
        return self.snapshot if self.snapshot.built <= len(rows) else None


class SnapshotStore:
    """Loads, builds and swaps the index of one collection; on `gpu` where there is one."""

    def __init__(self, folder: Path, gpu: Gpu | None = None) -> None:
        self._folder = folder
        self.gpu = gpu
        self._lock = Lock()
        self._loaded: Loaded | None = None
        self._rejected: Mark | None = None  # a manifest that failed

    def current(self, rows: Rows, epoch: int) -> Snapshot | None:
        """The index in force over at most `rows`, or None."""
        with self._lock:
            return self._current(rows, epoch)

    def manifest(self, epoch: int) -> Manifest:
        """FileNotFoundError when nothing was built; CorruptStoreError when it cannot be read."""
        path = self._path(epoch)
        text = path.read_text(errors="replace")
        try:
            fields = json.loads(text)
            fields["calibration"] = tuple(Point(**point) for point in fields["calibration"])
            manifest = Manifest(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptStoreError(f"{path} is damaged: {error}") from error
        if Path(manifest.index).name != manifest.index:
            raise CorruptStoreError(f"{path} names a file outside its folder: {manifest.index!r}")
        return manifest

    def check(self, manifest: Manifest) -> None:
        """CorruptStoreError unless the index file is byte for byte the one that was built."""
        path = self._folder / manifest.index
        if not path.is_file():
            raise CorruptStoreError(f"{path} is missing")
        if path.stat().st_size != manifest.bytes or sha256_of_file(path) != manifest.sha256:
            raise CorruptStoreError(f"{path} does not have the checksum of its manifest")

    def build(
        self,
        rows: Rows,
        family: Family,
        *,
        epoch: int,
        generation: int,
        model_id: str,
        watch: Watch,
        asked_QD: "Float32[ndarray, 'q d'] | None" = None,
    ) -> Manifest:
        """Build beside, then swap by renaming the manifest. Readers keep theirs until they look again.

        What a stopped or killed build had finished is found again, as long as the rows are the same.
        """
        work = self._folder / f"build-{epoch}-{len(rows)}"
        self._remove_work(except_for=work)
        made = build(rows, family, work, watch, self.gpu)
        name = f"index-{self._next_number()}.faiss"
        beside = self._folder / f"{name}.part"
        made.save(beside)
        sync_file(beside)
        reached("index-written")
        path = self._folder / name
        beside.replace(path)
        sync_folder(self._folder)
        reached("index-renamed")
        # Calibrated as it will be searched: loaded from its file.
        loaded = _load(path, family, rows, self.gpu)
        calibration = calibrate(loaded.proposer, rows, asked_QD, lambda: watch.step("calibration", 0, 0))
        manifest = Manifest(
            index=name,
            family=family,
            built=made.built,
            generation=generation,
            calibration=calibration.points,
            bytes=path.stat().st_size,
            sha256=sha256_of_file(path),
            dim=rows.dim,
            model_id=model_id,
        )
        text = json.dumps(asdict(manifest), indent=1) + "\n"
        replace_text(self._path(epoch), text, before=lambda: reached("manifest-written"))
        reached("manifest-renamed")
        return manifest

    def drop(self, epoch: int) -> None:
        """Go back to scanning exactly."""
        self._path(epoch).unlink(missing_ok=True)
        sync_folder(self._folder)

    def sweep(self, epoch: int) -> None:
        """Remove what unfinished and replaced builds left."""
        for path in self.strays(epoch):
            path.unlink(missing_ok=True)
        self._remove_work(except_for=None)

    def strays(self, epoch: int) -> list[Path]:
        """Files of unfinished or replaced builds."""
        kept = {self._path(epoch)}
        with suppress(FileNotFoundError, CorruptStoreError):  # then no index is in force
            kept.add(self._folder / self.manifest(epoch).index)
        found = {*self._folder.glob("index-*.faiss*"), *self._folder.glob("manifest*.json*")}
        return sorted(found - kept)

    def _current(self, rows: Rows, epoch: int) -> Snapshot | None:
        try:
            stat = self._path(epoch).stat()
        except FileNotFoundError:
            return None
        mark = Mark(epoch, stat.st_ino, stat.st_mtime_ns)
        if mark == self._rejected:
            return None
        if self._loaded is not None and self._loaded.mark == mark:
            return self._loaded.over(rows)
        try:
            manifest = self.manifest(epoch)
        except FileNotFoundError:
            return None
        except CorruptStoreError as error:
            self._reject(mark, error)
            return None
        try:
            self.check(manifest)
            placed = _load(self._folder / manifest.index, manifest.family, rows, self.gpu)
            if placed.proposer.built != manifest.built:
                raise CorruptStoreError(
                    f"{manifest.index} holds {placed.proposer.built} rows: its manifest says {manifest.built}"
                )
        except (CorruptStoreError, UnavailableError, OSError) as error:
            if self._replaced(manifest, epoch):  # by another process, while we looked: look again
                return self._current(rows, epoch)
            self._reject(mark, error)
            return None
        known = Calibration(manifest.calibration)
        snapshot = Snapshot(manifest.family, placed.proposer, known, placed.where)
        self._loaded = Loaded(mark, snapshot)
        return self._loaded.over(rows)

    def _replaced(self, manifest: Manifest, epoch: int) -> bool:
        try:
            return self.manifest(epoch) != manifest
        except (FileNotFoundError, CorruptStoreError):
            return False

    def _path(self, epoch: int) -> Path:
        return self._folder / of_epoch("manifest.json", epoch)

    def _next_number(self) -> int:
        """Never that of a file that exists: the index in force is not written over."""
        numbers = [int(path.name.split("-")[1].split(".")[0]) for path in self._folder.glob("index-*.faiss*")]
        return max(numbers, default=0) + 1

    def _remove_work(self, except_for: Path | None) -> None:
        folders: Iterable[Path] = self._folder.glob("build-*")
        for folder in folders:
            if folder != except_for:
                remove_tree(folder)

    def _reject(self, mark: "Mark", error: Exception) -> None:
        self._rejected = mark
        LOG.warning("searching without an index until the next `kallos compact`: %s", error)


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
            return place(Ivf.load(path), gpu)
        case "ivf_rabitq":
            return Placed(Ivf.load(path), "cpu")  # FAISS has no such kernel
