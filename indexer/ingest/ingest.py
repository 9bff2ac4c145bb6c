"""Pictures from a source into a collection: decode, encode and write at the same time.

    source ──► decode pool ──► batches ──► encoder ──► writer
               (threads)                  (2 threads)  (1 thread)

While one call of the encoder ends, the next has begun, so no core waits between two batches. Every stage is
bounded, so memory does not grow with the source. A picture is skipped by (uri, size, mtime), then by the hash
of its bytes; a run that was killed therefore goes on where its last write ended.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.typing import NDArray

from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.errors import KallosError, NotFoundError, StoreError, UnreadableImageError
from indexer.imaging.decode import Limits, decode, sha256_of, thumbnail
from indexer.imaging.measurer import Measurer
from indexer.protocols import Encoder
from indexer.sources.sidecars import read_sidecars
from indexer.sources.source import Source, SourceFailure, SourceItem
from indexer.tables.metadata import filled
from indexer.times import seconds_since_1970
from indexer.types import ImageId, ImageRow, JSONValue, Known, NewImage

BATCH = 32  # pictures per call of the encoder: larger ones gain under 3 % and hold more memory
WRITE_BATCH = 256  # pictures per transaction: one fsync each is then under 1 % of the work
WRITE_SECONDS = 2.0  # and at least this often, so that a kill loses little
ENCODERS = 2  # calls of the encoder at once
AHEAD = 4  # batches decoded ahead of the encoder

Status = Literal["indexed", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class ItemReport:
    """What became of one picture. `reason` is one of `indexer.imaging.decode.REASONS`, or of the source."""

    uri: str
    status: Status
    id: ImageId | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A running count. `total` is None until the source has been counted, or when it cannot be."""

    done: int
    total: int | None
    indexed: int
    unchanged: int
    failed: int
    seconds: float


@dataclass(slots=True)
class IngestReport:
    """The outcome. `stopped`: cut short on request; running again goes on from here."""

    indexed: int = 0
    unchanged: int = 0
    moved: int = 0
    deleted: int = 0
    failed: list[ItemReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def done(self) -> int:
        return self.indexed + self.unchanged + len(self.failed)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A picture on its way to the encoder; `vector_D` is set when an equal file was encoded before."""

    image: NewImage
    prepared: NDArray[np.generic] | None
    vector_D: Float32[ndarray, " d"] | None
    warnings: tuple[str, ...]


_Outcome = _Decoded | ItemReport


@dataclass(frozen=True, slots=True)
class Ingest:
    """One run over one source.

    `sync` also forgets pictures of this source that are gone, and follows those that were moved.
    `on_progress` is called from the calling thread after every picture; `on_item` with every final status.
    `should_stop` is asked as often: on True what was decoded is written, and the report says `stopped`.
    """

    collection: Collection
    encoder: Encoder
    thumbnails: ThumbnailStore
    limits: Limits
    threads: int
    measurer: Measurer = field(default_factory=Measurer)
    sync: bool = False
    on_progress: Callable[[Progress], None] | None = None
    on_item: Callable[[ItemReport], None] | None = None
    should_stop: Callable[[], bool] | None = None

    def run(self, source: Source) -> IngestReport:
        return _Run(self, source).run()


class _Run:
    """The moving parts of one `Ingest.run`."""

    def __init__(self, job: Ingest, source: Source) -> None:
        self._job = job
        self._source = source
        self._report = IngestReport()
        uris = source.uris()
        self._known: dict[str, Known] = job.collection.known(uris)
        # Spares a query for each new file.
        self._stored = None if uris is not None else {known.sha256 for known in self._known.values()}
        self._seen: set[str] = set()
        self._moving = Lock()
        self._total: int | None = None
        self._started = time.monotonic()
        self._written_at = self._started
        self._encoding: deque[tuple[list[_Decoded], Future[Float32[ndarray, "n d"]]]] = deque()
        self._unwritten: list[tuple[NewImage, Float32[ndarray, " d"]]] = []
        self._writing: Future[list[ImageId]] | None = None
        self._writing_images: list[NewImage] = []

    def run(self) -> IngestReport:
        job = self._job
        with (
            ThreadPoolExecutor(job.threads, "decode") as decoders,
            ThreadPoolExecutor(ENCODERS, "encode") as encoder,
            ThreadPoolExecutor(1, "write") as writer,
        ):
            self._decoders, self._encoder, self._writer = decoders, encoder, writer
            self._total = self._source.count()
            batch: list[_Decoded] = []
            for outcome in self._decoded():
                if isinstance(outcome, ItemReport):
                    self._settle(outcome)
                else:
                    batch.append(outcome)
                if len(batch) == BATCH:
                    self._encode(batch)
                    batch = []
            self._encode(batch)
            while self._encoding:
                self._collect_encoded()
            self._write_out()
            self._finish_write()
        if job.sync and not self._report.stopped:
            self._forget_missing()
        self._report.seconds = time.monotonic() - self._started
        return self._report

    def _decoded(self) -> Iterator[_Outcome]:
        """Outcomes in the order of the source, decoded up to AHEAD batches ahead."""
        pending: deque[Future[_Outcome]] = deque()
        for item in self._source.items():
            if self._job.should_stop is not None and self._job.should_stop():
                self._report.stopped = True
                pending = deque(future for future in pending if not future.cancel())
                break
            self._seen.add(item.uri)
            if isinstance(item, SourceFailure):
                yield ItemReport(_shown(item.uri), "failed", None, item.reason, item.message)
            elif self._is_unchanged(item):
                yield ItemReport(item.uri, "unchanged", self._known[item.uri].id)
            else:
                pending.append(self._decoders.submit(self._open, item))
            while pending and (pending[0].done() or len(pending) >= AHEAD * BATCH):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _is_unchanged(self, item: SourceItem) -> bool:
        known = self._known.get(item.uri)
        return (
            known is not None
            and (known.size, known.mtime_ns) == (item.size, item.mtime_ns)
            and item.mtime_ns > 0  # a URL has no time: only its bytes can tell
        )

    def _open(self, item: SourceItem) -> _Outcome:
        """Runs in the decode pool. One bad picture never stops the rest: whatever it raises is its report."""
        try:
            item.uri.encode()
        except UnicodeEncodeError:
            message = "its name is not UTF-8: rename it"
            return ItemReport(_shown(item.uri), "failed", None, "unreadable", message)
        try:
            return self._decode(item)
        except UnreadableImageError as error:
            return ItemReport(item.uri, "failed", None, error.reason, str(error))
        except MemoryError:
            return ItemReport(item.uri, "failed", None, "out_of_memory", "not enough memory to decode it")
        except StoreError:
            raise  # not the picture's fault: the run ends
        except Exception as error:
            return ItemReport(item.uri, "failed", None, "unreadable", explain(error))

    def _decode(self, item: SourceItem) -> _Outcome:
        data = item.read()
        digest = sha256_of(data)
        known = self._known.get(item.uri)
        if known is not None and known.sha256 == digest:
            with suppress(NotFoundError):  # deleted meanwhile: it is a new one
                self._job.collection.touch([(known.id, item.uri, len(data), item.mtime_ns)])
                return ItemReport(item.uri, "unchanged", known.id)
        moved = self._follow_move(item, digest)
        if moved is not None:
            return moved
        picture = decode(data, self._job.limits, name=item.uri)
        from_sidecars, warnings = read_sidecars(item.sidecars())
        metadata: dict[str, JSONValue] = {**picture.metadata, **from_sidecars, **item.metadata}
        taken_at = metadata.pop("taken_at", None)
        image = NewImage(
            uri=item.uri,
            sha256=digest,
            size=len(data),
            mtime_ns=item.mtime_ns,
            width=picture.width,
            height=picture.height,
            format=picture.format,
            taken_at=seconds_since_1970(taken_at) if isinstance(taken_at, str) else None,
            metadata=filled(metadata, self._job.measurer(picture.pixels)),
        )
        self._job.thumbnails.put(digest, lambda: thumbnail(picture.pixels))
        notes = tuple(f"{item.uri}: {warning}" for warning in warnings)
        copy_D = self._vector_of_a_copy(digest)
        prepared = None if copy_D is not None else self._job.encoder.prepare(picture.pixels)
        return _Decoded(image, prepared, copy_D, notes)

    def _follow_move(self, item: SourceItem, digest: str) -> ItemReport | None:
        """When syncing, a known picture whose file is gone and whose bytes turn up here has moved here."""
        if not self._job.sync or item.uri in self._known:  # another picture's file was written over
            return None
        if not _is_there(item.uri):  # a member of a shard: what else that holds is known at its end only
            return None
        # Of two copies one is what was moved. A picture that is deleted meanwhile is not.
        with self._moving, suppress(NotFoundError):
            for row in self._rows_with(digest):
                if self._source.covers(row.uri) and not _is_there(row.uri):
                    self._job.collection.touch([(row.id, item.uri, item.size, item.mtime_ns)])
                    self._known.pop(row.uri, None)
                    self._report.moved += 1
                    return ItemReport(item.uri, "unchanged", row.id)
        return None

    def _vector_of_a_copy(self, digest: str) -> Float32[ndarray, " d"] | None:
        snapshot = self._job.collection.snapshot()
        copies = snapshot.find([row.id for row in self._rows_with(digest)[:1]])
        return snapshot.vectors([copies[0].id])[0] if copies else None

    def _rows_with(self, digest: str) -> list[ImageRow]:
        if self._stored is not None and digest not in self._stored:
            return []
        return self._job.collection.find_by_sha256([digest]).get(digest, [])

    def _encode(self, batch: list[_Decoded]) -> None:
        if not batch:
            return
        prepared = [decoded.prepared for decoded in batch if decoded.prepared is not None]
        self._encoding.append((batch, self._encoder.submit(self._job.encoder.encode_prepared, prepared)))
        while self._encoding and (len(self._encoding) > ENCODERS + 1 or self._encoding[0][1].done()):
            self._collect_encoded()

    def _collect_encoded(self) -> None:
        batch, future = self._encoding.popleft()
        fresh = iter(future.result())
        for decoded in batch:
            vector_D = next(fresh) if decoded.vector_D is None else decoded.vector_D
            self._unwritten.append((decoded.image, vector_D))
            self._report.warnings.extend(decoded.warnings)
        waited = time.monotonic() - self._written_at
        if len(self._unwritten) >= WRITE_BATCH or waited >= WRITE_SECONDS:
            self._write_out()

    def _write_out(self) -> None:
        self._finish_write()
        if not self._unwritten:
            return
        images = [image for image, _ in self._unwritten]
        vectors_ND = np.stack([vector_D for _, vector_D in self._unwritten])
        self._unwritten = []
        self._writing_images = images
        self._writing = self._writer.submit(self._job.collection.add, images, vectors_ND)
        self._written_at = time.monotonic()

    def _finish_write(self) -> None:
        """Only what the writer has acknowledged counts as indexed."""
        if self._writing is None:
            return
        ids: Sequence[ImageId] = self._writing.result()
        for image, image_id in zip(self._writing_images, ids, strict=True):
            if self._stored is not None:
                self._stored.add(image.sha256)
            self._settle(ItemReport(image.uri, "indexed", image_id))
        self._writing = None

    def _settle(self, item: ItemReport) -> None:
        report = self._report
        if item.status == "indexed":
            report.indexed += 1
        elif item.status == "unchanged":
            report.unchanged += 1
        else:
            report.failed.append(item)
        if self._job.on_item is not None:
            self._job.on_item(item)
        if self._job.on_progress is not None:
            seconds = time.monotonic() - self._started
            counts = (report.indexed, report.unchanged, len(report.failed))
            self._job.on_progress(Progress(report.done, self._total, *counts, seconds))

    def _forget_missing(self) -> None:
        gone = [
            known.id
            for uri, known in self._known.items()
            if uri not in self._seen and self._source.covers(uri)
        ]
        self._report.deleted = len(self._job.collection.delete(gone))


def _is_there(uri: str) -> bool:
    """Whether there is such a file, also one that may not be looked at."""
    try:
        Path(uri).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _shown(uri: str) -> str:
    """As a report can hold it: bytes of a name that are not UTF-8 are escaped."""
    return uri.encode("utf-8", "backslashreplace").decode()


def explain(error: BaseException) -> str:
    """One line for a report: our own errors speak for themselves, others are named."""
    return str(error) if isinstance(error, KallosError) else f"{type(error).__name__}: {error}"
