"""Pictures per second: end to end, the encoder alone, and what lies between them."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jaxtyping import UInt8
from numpy import ndarray

from benchmarks.processes import confined
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.encoders.registry import load_encoder
from indexer.errors import KallosError
from indexer.imaging.decode import EXTENSIONS, Limits, decode
from indexer.ingest.ingest import BATCH, Ingest
from indexer.sources.open import open_source
from indexer.sources.source import SourceItem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Throughput:
    """Pictures per second on `cores` cores.

    `encoder_alone` turns decoded pixels into vectors, with a batch on each core; `decode_and_encode` does so
    from bytes in memory, which no pipeline on the same cores can beat; `end_to_end` turns a folder into a
    collection: reading, hashing, decoding, measuring, thumbnails, encoding, writing.
    """

    data: str
    cores: int
    pictures: int
    encoder_alone: float
    decode_and_encode: float
    end_to_end: float


def link_all_but_svg(folder: Path, to: Path) -> Path:
    """Links in a new folder `to`, without the drawings: to draw an SVG takes longer than to encode it."""
    to.mkdir()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS - {".svg"})
    for number, path in enumerate(paths):
        (to / f"{number}{path.suffix}").symlink_to(path.absolute())
    return to


def throughput(folder: Path, data: str, model: str, scratch: Path, *, cores: int, most: int) -> Throughput:
    """Measure all three over the same pictures with the same number of cores, the encoder first.

    `scratch` is a new folder for the collection. It should stay until all is measured: for five minutes ext4
    avoids the inodes of files that were deleted, and a new file then takes 0.8 ms in place of 0.03.
    """
    with confined(cores):
        limits = Limits.from_memory(workers=cores)
        encoder = load_encoder(model, device="cpu", threads=cores)
        files: list[bytes] = []
        pixels: list[UInt8[ndarray, "h w 3"]] = []
        for item in open_source(str(folder), limits=limits, fetch=None).items():
            if isinstance(item, SourceItem) and len(pixels) < most:
                try:
                    content = item.read()
                    pixels.append(decode(content, limits, name=item.uri).pixels)
                    files.append(content)
                except KallosError:
                    continue
        encoder.encode_images(pixels[:BATCH])  # warm-up
        alone = _rate(encoder.encode_images, pixels, cores)
        decoded = _rate(
            lambda batch: encoder.encode_images([decode(content, limits).pixels for content in batch]),
            files,
            cores,
        )
        collection = Collection.open(scratch, model_id=encoder.model_id, dim=encoder.dim)
        ingest = Ingest(collection, encoder, ThumbnailStore(scratch), limits, threads=cores)
        report = ingest.run(open_source(str(folder), limits=limits, fetch=None))
        collection.close()
    return Throughput(data, cores, len(pixels), alone, decoded, report.indexed / report.seconds)


def _rate(work: Callable[[Sequence[T]], object], items: Sequence[T], cores: int) -> float:
    """Items per second, a batch on each core."""
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with ThreadPoolExecutor(cores) as workers:
        started = time.perf_counter()
        deque(workers.map(work, batches), maxlen=0)
        return len(items) / (time.perf_counter() - started)
