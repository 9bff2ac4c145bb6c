"""Pictures in folders, and single ones, with the files beside them."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from natsort import os_sort_keygen

from indexer.imaging.decode import EXTENSIONS, Limits
from indexer.sources.sidecars import LARGEST, READERS
from indexer.sources.source import SourceFailure, SourceItem, too_large
from indexer.sources.tar import TAR_SUFFIXES
from indexer.types import Metadata

_Order = Callable[[Iterable["os.DirEntry[str]"]], "list[os.DirEntry[str]]"]
_natural = os_sort_keygen()


class FolderSource:
    """Pictures below a folder. Links are followed, save those to a folder above them, so loops end."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self._unlisted: list[str] = []

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        self._unlisted = []
        for found in self._walk(self._root, frozenset(), _in_natural_order):
            yield found if isinstance(found, SourceFailure) else _item(found, self._limits, {})

    def count(self) -> int:
        return sum(1 for _ in self._walk(self._root, frozenset(), list))

    def uris(self) -> None:
        return None

    def covers(self, uri: str) -> bool:
        in_shard = any(f"{suffix}#" in uri.lower() for suffix in TAR_SUFFIXES)
        unlisted = any(uri.startswith(folder + os.sep) for folder in self._unlisted)
        return uri.startswith(str(self._root) + os.sep) and not in_shard and not unlisted

    def _walk(
        self, folder: Path, above: frozenset[tuple[int, int]], order: "_Order"
    ) -> "Iterator[_File | SourceFailure]":
        try:
            status = folder.stat()
            entries = order(os.scandir(folder))
        except OSError as error:
            self._unlisted.append(str(folder))
            yield SourceFailure(str(folder), "unreadable", str(error))
            return
        inside = above | {(status.st_dev, status.st_ino)}
        names = frozenset(entry.name for entry in entries)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            yield from self._visit(Path(entry.path), names, inside, order)

    def _visit(
        self, path: Path, names: frozenset[str], above: frozenset[tuple[int, int]], order: "_Order"
    ) -> "Iterator[_File | SourceFailure]":
        is_picture = path.suffix.lower() in EXTENSIONS
        try:
            status = path.stat()
        except OSError as error:
            is_gone = isinstance(error, FileNotFoundError) and not is_picture and not path.is_symlink()
            if not is_gone:
                self._unlisted.append(str(path))  # a drive that is not mounted has lost nothing
                leads_nowhere = error.errno in (errno.ENOENT, errno.ELOOP)
                reason = "dangling_link" if leads_nowhere else "unreadable"
                yield SourceFailure(str(path), reason, str(error))
            return
        if stat.S_ISDIR(status.st_mode):
            if is_picture:
                yield SourceFailure(str(path), "not_a_file", "a folder with the name of a picture")
            if (status.st_dev, status.st_ino) in above:
                yield SourceFailure(
                    str(path), "link_loop", "the link leads back to a folder that contains it"
                )
            else:
                yield from self._walk(path, above, order)
        elif is_picture and not stat.S_ISREG(status.st_mode):
            yield SourceFailure(str(path), "not_a_file", "a pipe, a socket or a device")
        elif is_picture:
            yield _File(path, status, names)


class FileSource:
    """One picture."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        yield item_of_file(self._path, self._limits)

    def count(self) -> int:
        return 1

    def uris(self) -> list[str]:
        return [str(self._path)]

    def covers(self, uri: str) -> bool:
        return uri == str(self._path)


def item_of_file(path: Path, limits: Limits, metadata: Metadata | None = None) -> SourceItem | SourceFailure:
    try:
        status = path.stat()
    except OSError as error:
        return SourceFailure(str(path), "unreadable", str(error))
    if not stat.S_ISREG(status.st_mode):
        return SourceFailure(str(path), "not_a_file", "expected a file")
    return _item(_File(path, status, None), limits, metadata or {})


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file. `names`: what lies in its folder, where that was listed."""

    path: Path
    status: os.stat_result
    names: frozenset[str] | None


def _in_natural_order(entries: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    return sorted(entries, key=lambda entry: _natural(entry.name))


def _item(file: _File, limits: Limits, metadata: Metadata) -> SourceItem:
    return SourceItem(
        str(file.path),
        file.status.st_size,
        file.status.st_mtime_ns,
        lambda: _read_file(file.path, limits),
        lambda: _sidecars_of(file.path, file.names),
        metadata,
    )


def _read_file(path: Path, limits: Limits) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.max_bytes:
            raise too_large(size, limits)
        data = file.read(size + 1)  # asked for `max_bytes`, Python would reserve them
        return data if len(data) <= size else data + file.read(limits.max_bytes - size)


def _sidecars_of(path: Path, names: frozenset[str] | None) -> Mapping[str, bytes]:
    """`kite.png.txt` wins over `kite.txt`."""
    parts = {}
    for kind in READERS:
        for name in (f"{path.stem}.{kind}", f"{path.name}.{kind}"):
            if names is not None and name not in names:
                continue
            try:
                beside = path.with_name(name)
                if not beside.is_file():  # a pipe would keep its reader for ever
                    continue
                with beside.open("rb") as file:
                    parts[kind] = file.read(LARGEST + 1)
            except OSError:  # there is none
                continue
    return parts
