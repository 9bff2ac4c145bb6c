"""Where pictures come from: folders, tar shards, lists of paths or URLs, single files.

    /photos                   every picture below it, in natural order
    shard-000.tar[.gz]        webdataset: members with one stem belong together
    list.parquet|csv|tsv      img2dataset: a column of URLs or paths, one of captions, the rest is metadata
    photo.jpg

A source names what it cannot offer (`SourceFailure`) and goes on.
"""

import csv
import errno
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from natsort import os_sort_keygen

from indexer.errors import InvalidInputError, UnreadableImageError
from indexer.imaging.decode import EXTENSIONS, Limits
from indexer.sources.fetch import Fetch
from indexer.sources.sidecars import LARGEST, READERS
from indexer.types import JSONValue, Metadata

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LIST_SUFFIXES = (".parquet", ".csv", ".tsv")
# In order of preference; compared without case.
LOCATION_COLUMNS = ("url", "image_url", "path", "file", "filename", "file_name", "image")
CAPTION_COLUMNS = ("caption", "text", "title", "description", "alt", "alt_text")
ROWS_AT_ONCE = 1024

_Order = Callable[[Iterable["os.DirEntry[str]"]], "list[os.DirEntry[str]]"]
_natural = os_sort_keygen()


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A picture that may be read. `mtime_ns` is 0 where only its bytes can tell whether it changed.

    `read` and `sidecars` may be called from any thread; `read` raises UnreadableImageError or OSError.
    """

    uri: str
    size: int
    mtime_ns: int
    read: Callable[[], bytes]
    sidecars: Callable[[], Mapping[str, bytes]]
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceFailure:
    """Something that cannot be offered. `reason` is a word of `indexer.imaging.decode.REASONS`."""

    uri: str
    reason: str
    message: str


class Source(Protocol):
    def items(self) -> Iterator[SourceItem | SourceFailure]: ...

    def count(self) -> int | None:
        """How many items there will be, or None where that would take as long as reading them."""
        ...

    def uris(self) -> Sequence[str] | None:
        """All of them where they are few; a run then looks at nothing else that is stored."""
        ...

    def covers(self, uri: str) -> bool:
        """Whether a picture with this URI, were it still there, would have been listed."""
        ...


def open_source(source: str | Path, *, limits: Limits, fetch: Fetch | None = None) -> Source:
    """Choose by what the path is.

    Args:
        source: A path; links in it are kept, because they are part of the URIs.
        limits: `max_bytes` also bounds the members of tar shards, which are read ahead.
        fetch: How lists get pictures by URL; without it such rows fail as `unreachable`.

    Raises:
        InvalidInputError: No such path, or a file of a kind that holds no pictures.
    """
    path = Path(os.path.abspath(source))  # noqa: PTH100  # keeps links in the path: they are part of the URI
    if path.is_dir():
        return FolderSource(path, limits)
    if not path.exists():
        raise InvalidInputError(f"{source}: no such file or folder")
    name = path.name.lower()
    if name.endswith(TAR_SUFFIXES):
        return TarSource(path, limits)
    if name.endswith(LIST_SUFFIXES):
        return ListSource(path, limits, fetch)
    if path.suffix.lower() in EXTENSIONS:
        return FileSource(path, limits)
    raise InvalidInputError(
        f"{source}: expected a folder, a picture, {', '.join(TAR_SUFFIXES)} or {', '.join(LIST_SUFFIXES)}"
    )


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


class ListSource:
    """Rows of a table. Relative paths start at the table's folder."""

    def __init__(self, path: Path, limits: Limits, fetch: Fetch | None) -> None:
        self._path = path
        self._limits = limits
        self._fetch = fetch

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        number = 0
        for batch in self._batches():
            location = _column(batch.schema.names, LOCATION_COLUMNS)
            if location is None:
                raise InvalidInputError(
                    f"{self._path}: expected a column named {', '.join(LOCATION_COLUMNS)}; "
                    f"it has {', '.join(batch.schema.names)}"
                )
            caption = _column(batch.schema.names, CAPTION_COLUMNS)
            for row in batch.to_pylist():
                number += 1
                yield self._item(row, number, location, caption)

    def count(self) -> int | None:
        if self._path.suffix.lower() != ".parquet":
            return None
        try:
            return int(pyarrow.parquet.ParquetFile(self._path).metadata.num_rows)
        except pa.ArrowInvalid:
            return None  # `items` says what is wrong

    def uris(self) -> None:
        return None

    def covers(self, uri: str) -> bool:
        """Never: a list says what to add, not what else there may be."""
        return False

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            if self._path.suffix.lower() == ".parquet":
                yield from pyarrow.parquet.ParquetFile(self._path).iter_batches(ROWS_AT_ONCE)
                return
            delimiter = "\t" if self._path.suffix.lower() == ".tsv" else ","
            # One type for every column: a guess from the first rows would refuse later ones.
            with self._path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                names = next(csv.reader(file, delimiter=delimiter), [])
            with pyarrow.csv.open_csv(
                self._path,
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            raise InvalidInputError(f"{self._path}: not a readable table: {error}") from error

    def _item(
        self, row: Mapping[str, object], number: int, location: str, caption: str | None
    ) -> SourceItem | SourceFailure:
        where = row[location]
        if not isinstance(where, str) or not where.strip():
            return SourceFailure(
                f"{self._path}#{number}", "not_a_file", f"row {number}: {location} is {where!r}"
            )
        metadata = {name: _json(value) for name, value in row.items() if name not in (location, caption)}
        if caption is not None and row[caption]:
            metadata["caption"] = _json(row[caption])
        metadata = {name: value for name, value in metadata.items() if value is not None}
        where = where.strip()
        if where.lower().startswith(("http://", "https://")):
            return SourceItem(where, 0, 0, self._fetching(where), dict[str, bytes], metadata)
        path = Path(os.path.abspath(self._path.parent / where))  # noqa: PTH100  # as in `open_source`
        return item_of_file(path, self._limits, metadata)

    def _fetching(self, url: str) -> Callable[[], bytes]:
        def read() -> bytes:
            if self._fetch is None:
                raise UnreadableImageError("unreachable", f"{url}: fetching by URL is off")
            return self._fetch(url)

        return read


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
            raise _too_large(size, limits)
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


def _check_end(shard: tarfile.TarFile) -> None:
    """Two blocks of zeros end a shard. tarfile ends after one, and where bytes are missing or no header."""
    if shard.fileobj is None or shard.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("there is no mark of its end")


def _given(data: bytes | None, size: int, limits: Limits) -> Callable[[], bytes]:
    def read() -> bytes:
        if data is None:
            raise _too_large(size, limits)
        return data

    return read


def _too_large(size: int, limits: Limits) -> UnreadableImageError:
    return UnreadableImageError(
        "too_many_bytes", f"the file has {size} bytes: expected at most {limits.max_bytes}"
    )


def _column(names: list[str], wanted: tuple[str, ...]) -> str | None:
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _json(value: object) -> JSONValue:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): _json(entry) for name, entry in value.items()}
    return value if isinstance(value, bool | int | float | str) else None
