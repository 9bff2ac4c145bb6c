"""manifest.json: which index is in force, file by file, with checksums. Replaced as a whole, by rename."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

from indexer.ann.index import Family, Point
from indexer.disk.files import replace_text, sha256_of_file
from indexer.errors import CorruptStoreError


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file in the folder of its manifest, whole and unchanged when these agree."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "IndexFile":
        return cls(path.name, path.stat().st_size, sha256_of_file(path))

    def check(self, folder: Path) -> None:
        """CorruptStoreError unless the file is byte for byte the one that was built."""
        path = folder / self.name
        if not path.is_file():
            raise CorruptStoreError(f"{path} is missing")
        if path.stat().st_size != self.bytes or sha256_of_file(path) != self.sha256:
            raise CorruptStoreError(f"{path} does not have the checksum of its manifest")


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """Rows from the end of what is before it up to `end`."""

    end: int
    file: IndexFile


@dataclass(frozen=True, slots=True)
class Manifest:
    """`index` covers rows [0, built), and `segments`, in their order, those that came later.

    `generation` is that of the collection when the index was built.
    """

    index: str
    family: Family
    built: int
    generation: int
    calibration: tuple[Point, ...]
    bytes: int
    sha256: str
    dim: int
    model_id: str
    segments: tuple[SegmentFile, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """FileNotFoundError when nothing was built; CorruptStoreError when it cannot be read."""
        text = path.read_text(errors="replace")
        try:
            fields = json.loads(text)
            fields["calibration"] = tuple(Point(**point) for point in fields["calibration"])
            segments = [(one["end"], IndexFile(**one["file"])) for one in fields.pop("segments", ())]
            manifest = cls(**fields, segments=tuple(SegmentFile(end, file) for end, file in segments))
            ends = [manifest.built, *(end for end, _ in segments)]
            if manifest.family not in get_args(Family):
                raise ValueError(f"family {manifest.family!r} is not known")
            rising = all(before < after for before, after in pairwise(ends))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptStoreError(f"{path} is damaged: {error}") from error
        if not rising:
            raise CorruptStoreError(f"{path} is damaged: its segments end at {ends}, which do not rise")
        for file in manifest.files():
            if Path(file.name).name != file.name:
                raise CorruptStoreError(f"{path} names a file outside its folder: {file.name!r}")
        return manifest

    def replace(self, path: Path, *, before: Callable[[], None]) -> None:
        """Be in force from now on, durably; `before` is called when the new manifest lies beside."""
        replace_text(path, json.dumps(asdict(self), indent=1) + "\n", before=before)

    @property
    def covered(self) -> int:
        return self.segments[-1].end if self.segments else self.built

    @property
    def base(self) -> IndexFile:
        return IndexFile(self.index, self.bytes, self.sha256)

    def files(self) -> Iterator[IndexFile]:
        yield self.base
        yield from (segment.file for segment in self.segments)

    def check(self, folder: Path) -> None:
        """CorruptStoreError unless every file is the one that was built."""
        for file in self.files():
            file.check(folder)
