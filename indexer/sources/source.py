"""What a source is: it lists pictures that may be read, names what it cannot offer, and goes on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from indexer.errors import UnreadableImageError
from indexer.imaging.decode import Limits
from indexer.types import Metadata


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


def too_large(size: int, limits: Limits) -> UnreadableImageError:
    return UnreadableImageError(
        "too_many_bytes", f"the file has {size} bytes: expected at most {limits.max_bytes}"
    )
