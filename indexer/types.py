"""The values that pass between the parts of the indexer.

Dimension key   N pictures, D embedding, H height, W width
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType

from jaxtyping import Int64, UInt8
from numpy import ndarray

ImageId = NewType("ImageId", int)
"""Stable for the life of a picture, never used again after its deletion. Starts at 1."""

IdList = Sequence[int] | Int64[ndarray, " n"]

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]
Metadata = Mapping[str, JSONValue]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: upright, sRGB, alpha composited on white.

    `pixels` may be smaller than the original, never smaller than `indexer.imaging.decode.WORKING_SIDE` on its
    longer side unless the original is, or is an SVG, which has no pixels of its own. `width` and `height`
    are those of the original, upright.
    """

    pixels: UInt8[ndarray, "h w 3"]
    width: int
    height: int
    format: str  # what the bytes are, in lower case: "jpeg", "png", … never what the name claims
    metadata: Metadata = field(default_factory=dict)  # from EXIF and XMP; see `indexer.imaging.exif`


@dataclass(frozen=True, slots=True)
class NewImage:
    """Everything that is stored about a picture beside its vector.

    `uri` identifies it within a collection: an absolute path, a URL, `shard.tar#member`, or `upload:SHA256`.
    `size` is in bytes and `mtime_ns` as the file system gives it; (0, 0) where there is no file.
    `taken_at` is in seconds since 1970; a local time without a zone counts as UTC. None: not known.
    """

    uri: str
    sha256: str
    size: int
    mtime_ns: int
    width: int
    height: int
    format: str
    taken_at: float | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A stored picture. `added_at` is in seconds since 1970."""

    id: ImageId
    uri: str
    sha256: str
    size: int
    mtime_ns: int
    width: int
    height: int
    format: str
    taken_at: float | None
    added_at: float
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Known:
    """What tells whether a file has changed since it was indexed."""

    id: ImageId
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many pictures have `value`."""

    value: str | int | float | bool
    count: int
