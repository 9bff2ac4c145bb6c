"""The encoded bytes of stored pictures, wherever they live.

Local pictures stay where they are. Uploads and generated pictures are kept by content hash in
DATA_DIR/originals/ab/abcdef….
"""

import os
import re
import secrets
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from indexer.disk.files import sync_file, sync_folder, writing
from indexer.errors import NotFoundError
from indexer.lru import Lru
from indexer.types import ImageRow

UPLOAD = "upload:"
MOST_MEMBERS = 200_000  # of shards, whose places are remembered: some 50 MB


def upload_uri(sha256: str) -> str:
    return UPLOAD + sha256


class OriginalStore:
    """Content-addressed files; written once, fsynced before anything refers to them."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "originals"
        self._shards: Lru[_Shard, Mapping[str, _Extent]] = Lru(MOST_MEMBERS, weigh=_weight)

    def put(self, sha256: str, data: bytes) -> None:
        path = self.path(sha256)
        if path.exists():
            return
        # A name of its own: the same picture may arrive twice at once.
        beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        with writing(path, beside=beside):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            sync_file(beside)
            beside.replace(path)
            sync_folder(path.parent)

    def drop(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def get(self, sha256: str) -> bytes:
        """What `put` stored; NotFoundError when it is gone."""
        try:
            return self.path(sha256).read_bytes()
        except OSError as error:
            raise NotFoundError(f"the file of picture {sha256} cannot be read: {error.strerror}") from error

    def read(self, row: ImageRow, fetch: Callable[[str], bytes]) -> bytes:
        """The original of `row`; NotFoundError when its file is gone, with what to do about it."""
        if row.uri.startswith(("http://", "https://")):
            return fetch(row.uri)
        try:
            if row.uri.startswith(UPLOAD):
                return self.path(row.sha256).read_bytes()
            for at in (place.start() for place in re.finditer("#", row.uri)):
                if Path(row.uri[:at]).is_file():
                    return self._member(Path(row.uri[:at]), row.uri[at + 1 :])
            return Path(row.uri).read_bytes()
        except (OSError, KeyError, tarfile.TarError) as error:
            raise NotFoundError(
                f"the file of image {row.id} cannot be read any more ({row.uri}); "
                "index its folder again with --sync to follow moved and deleted files"
            ) from error

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def _member(self, path: Path, name: str) -> bytes:
        """A member of a shard, which is walked from its start only once: where all lie is remembered."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            shard = _Shard(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            extent = self._shards.get(shard, lambda: _extents(file)).get(name)
            if extent is not None:
                file.seek(extent.first)
                return file.read(extent.size)
        with tarfile.open(path) as archive:
            found = archive.extractfile(name)
            if found is None:
                raise KeyError(name)
            return found.read()


@dataclass(frozen=True, slots=True)
class _Shard:
    """One content of one file: a shard that is written anew is another."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class _Extent:
    """Bytes [first, first + size)."""

    first: int
    size: int


def _weight(extents: Mapping[str, _Extent]) -> int:
    return 1 + len(extents)


def _extents(file: BinaryIO) -> Mapping[str, _Extent]:
    """Where plain files lie in a shard; none where it is compressed, or ends too early."""
    extents: dict[str, _Extent] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                    extents[member.name] = _Extent(member.offset_data, member.size)
                else:
                    extents.pop(member.name, None)  # of members with one name the last one counts
    except tarfile.TarError:
        return {}
    return extents
