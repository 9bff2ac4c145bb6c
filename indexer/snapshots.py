"""Which index is in force: <collection>/manifest.json names one immutable index-N.faiss and its checksum.

An index is never trusted and never the truth: when anything about it is wrong it is left aside, the
collection is scanned exactly, and the next build replaces it.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float16
from numpy import ndarray

from indexer.errors import CorruptStoreError
from indexer.faiss_index import Family, Snapshot
from indexer.faults import reached
from indexer.files import sha256_of_file, sync_file, sync_folder

LOG = logging.getLogger("kallos.index")


@dataclass(frozen=True, slots=True)
class Manifest:
    """`index` is a file name in the same folder; `generation` that of the collection when it was built."""

    index: str
    family: Family
    built: int
    generation: int
    recall_at: tuple[tuple[int, float], ...]  # (probes, recall@10), measured when it was built
    bytes: int
    sha256: str
    dim: int
    model_id: str


class SnapshotStore:
    """Loads, builds and swaps the index of one collection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "manifest.json"
        self._loaded: tuple[Manifest, Snapshot] | None = None
        self._rejected: tuple[int, int] | None = None  # mtime and size of a manifest that failed

    def current(self, slots: int) -> Snapshot | None:
        """The index in force over at most `slots` rows, or None."""
        try:
            stat = self._path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if mark == self._rejected:
                return None
            manifest = self.manifest()
        except FileNotFoundError:
            return None
        except CorruptStoreError as error:
            self._reject(error)
            return None
        if self._loaded is None or self._loaded[0] != manifest:
            try:
                self.check(manifest)
                path = self._folder / manifest.index
                snapshot = Snapshot.load(path, manifest.family, manifest.built, manifest.recall_at)
            except (CorruptStoreError, OSError) as error:
                if self.manifest() != manifest:  # swapped by another process while we looked: look again
                    return self.current(slots)
                self._reject(error)
                return None
            self._loaded = (manifest, snapshot)
        return self._loaded[1] if manifest.built <= slots else None

    def manifest(self) -> Manifest:
        """FileNotFoundError when nothing was built; CorruptStoreError when it cannot be read."""
        text = self._path.read_text(errors="replace")
        try:
            fields = json.loads(text)
            fields["recall_at"] = tuple((int(probes), float(share)) for probes, share in fields["recall_at"])
            manifest = Manifest(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptStoreError(f"{self._path} is damaged: {error}") from error
        if Path(manifest.index).name != manifest.index:
            raise CorruptStoreError(f"{self._path} names a file outside its folder: {manifest.index!r}")
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
        rows_ND: Float16[ndarray, "n d"],
        family: Family,
        *,
        generation: int,
        model_id: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> Manifest:
        """Build beside, then swap by renaming the manifest. Readers keep theirs until they look again."""
        snapshot = Snapshot.build(rows_ND, family, progress=progress)
        name = f"index-{self._next_number()}.faiss"
        beside = self._folder / f"{name}.part"
        snapshot.save(beside)
        sync_file(beside)
        reached("index-written")
        path = self._folder / name
        beside.replace(path)
        sync_folder(self._folder)
        reached("index-renamed")
        manifest = Manifest(
            index=name,
            family=family,
            built=snapshot.built,
            generation=generation,
            recall_at=snapshot.recall_at,
            bytes=path.stat().st_size,
            sha256=sha256_of_file(path),
            dim=rows_ND.shape[1],
            model_id=model_id,
        )
        self._publish(manifest)
        self._remove_others(name)
        return manifest

    def drop(self) -> None:
        """Go back to scanning exactly."""
        self._path.unlink(missing_ok=True)
        sync_folder(self._folder)
        self._remove_others("")

    def strays(self) -> list[Path]:
        """Files of unfinished or replaced builds."""
        try:
            kept = self.manifest().index
        except (FileNotFoundError, CorruptStoreError):
            kept = ""
        found = [path for path in self._folder.glob("index-*.faiss*") if path.name != kept]
        return sorted([*found, *self._folder.glob("manifest.json.part")])

    def _next_number(self) -> int:
        """Never that of a file that exists: the index in force is not written over."""
        numbers = [int(path.name.split("-")[1].split(".")[0]) for path in self._folder.glob("index-*.faiss*")]
        return max(numbers, default=0) + 1

    def _publish(self, manifest: Manifest) -> None:
        beside = self._path.with_name("manifest.json.part")
        beside.write_text(json.dumps(asdict(manifest), indent=1) + "\n")
        sync_file(beside)
        reached("manifest-written")
        beside.replace(self._path)
        sync_folder(self._folder)
        reached("manifest-renamed")

    def _remove_others(self, kept: str) -> None:
        for path in self._folder.glob("index-*.faiss*"):
            if path.name != kept:
                path.unlink(missing_ok=True)

    def _reject(self, error: Exception) -> None:
        try:
            stat = self._path.stat()
            self._rejected = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            self._rejected = None
        LOG.warning("searching without an index until the next `kallos compact`: %s", error)
