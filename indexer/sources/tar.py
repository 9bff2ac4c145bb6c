"""Tar shards in the shape of webdataset: members with one stem belong together."""

import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from indexer.imaging.decode import EXTENSIONS, Limits
from indexer.sources.sidecars import READERS
from indexer.sources.source import SourceFailure, SourceItem, too_large

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class TarSource:
    """A shard. Its members come in the order in which they lie, and are unchanged while the shard is."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._is_whole = False  # read to its end

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        self._is_whole = False
        mtime_ns = self._path.stat().st_mtime_ns
        stem, parts, held = "", dict[str, tuple[str, bytes | None, int]](), 0
        try:
            with tarfile.open(self._path, "r|*") as shard:
                for member in shard:
                    if not member.isfile():
                        continue
                    name = PurePosixPath(member.name)
                    this = str(name.parent / name.name.partition(".")[0])
                    # A sample ends with its stem, or when it is large: all of IMG.0001.jpg… have one stem.
                    if this != stem or held > self._limits.max_bytes:
                        yield from self._sample(parts, mtime_ns)
                        stem, parts, held = this, {}, 0
                    held += member.size
                    kind = name.name.partition(".")[2].lower()
                    parts[kind] = (member.name, self._content(shard, member), member.size)
                _check_end(shard)
        except (tarfile.TarError, OSError, EOFError) as error:
            yield from self._sample(parts, mtime_ns)
            yield SourceFailure(str(self._path), "truncated", f"the shard ends too early: {error}")
            return
        self._is_whole = True
        yield from self._sample(parts, mtime_ns)

    def count(self) -> int | None:
        if not self._path.name.lower().endswith(".tar"):
            return None
        try:
            with tarfile.open(self._path, "r:") as shard:
                return sum(
                    1 for m in shard if m.isfile() and PurePosixPath(m.name).suffix.lower() in EXTENSIONS
                )
        except (tarfile.TarError, OSError):
            return None

    def uris(self) -> None:
        return None

    def covers(self, uri: str) -> bool:
        return self._is_whole and uri.startswith(f"{self._path}#")

    def _content(self, shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
        """None: larger than the limits allow."""
        if member.size > self._limits.max_bytes:
            return None
        file = shard.extractfile(member)
        return file.read() if file is not None else b""

    def _sample(
        self, parts: Mapping[str, tuple[str, bytes | None, int]], mtime_ns: int
    ) -> Iterator[SourceItem]:
        beside = {kind: data for kind, (_, data, _) in parts.items() if kind in READERS and data is not None}
        for kind, (name, data, size) in parts.items():
            if f".{kind.rpartition('.')[2]}" in EXTENSIONS:
                yield SourceItem(
                    f"{self._path}#{name}", size, mtime_ns, _given(data, size, self._limits), lambda: beside
                )


def _check_end(shard: tarfile.TarFile) -> None:
    """Two blocks of zeros end a shard. tarfile ends after one, and where bytes are missing or no header."""
    if shard.fileobj is None or shard.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("there is no mark of its end")


def _given(data: bytes | None, size: int, limits: Limits) -> Callable[[], bytes]:
    def read() -> bytes:
        if data is None:
            raise too_large(size, limits)
        return data

    return read
