"""Pictures per second: end to end, and the encoder alone."""

import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from indexer.collection import Collection
from indexer.encoders.registry import load_encoder
from indexer.errors import KallosError
from indexer.images import EXTENSIONS, Limits, decode
from indexer.ingest import BATCH, Ingest
from indexer.sources import SourceItem, open_source
from indexer.thumbnails import ThumbnailStore
from service.bench.processes import confined


@dataclass(frozen=True, slots=True)
class Throughput:
    """Pictures per second on `cores` cores.

    `encoder_alone` turns decoded pixels into vectors, with a batch on each core; `end_to_end` turns a folder
    into a collection: reading, hashing, decoding, thumbnails, encoding, writing.
    """

    data: str
    cores: int
    pictures: int
    encoder_alone: float
    end_to_end: float


@contextmanager
def without_svg(folder: Path) -> Iterator[Path]:
    """A folder of links to all but the drawings: to draw an SVG takes longer than to encode it."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS - {".svg"})
        for number, path in enumerate(paths):
            Path(scratch, f"{number}{path.suffix}").symlink_to(path.absolute())
        yield Path(scratch)


def throughput(folder: Path, data: str, model: str, *, cores: int, most: int) -> Throughput:
    """Measure both over the same pictures with the same number of cores, the encoder first."""
    with confined(cores):
        limits = Limits.from_memory(workers=cores)
        encoder = load_encoder(model, device="cpu", threads=cores)
        pixels: list[UInt8[ndarray, "h w 3"]] = []
        for item in open_source(str(folder), limits=limits, fetch=None).items():
            if isinstance(item, SourceItem) and len(pixels) < most:
                try:
                    pixels.append(decode(item.read(), limits, name=item.uri).pixels)
                except KallosError:
                    continue
        chunks = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        with ThreadPoolExecutor(cores) as workers:
            encoder.encode_images(chunks[0])  # warm-up
            started = time.perf_counter()
            deque(workers.map(encoder.encode_images, chunks), maxlen=0)
            alone = len(pixels) / (time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as scratch:
            collection = Collection.open(Path(scratch), model_id=encoder.model_id, dim=encoder.dim)
            ingest = Ingest(collection, encoder, ThumbnailStore(Path(scratch)), limits, threads=cores)
            report = ingest.run(open_source(str(folder), limits=limits, fetch=None))
            collection.close()
    return Throughput(data, cores, len(pixels), alone, report.indexed / report.seconds)
