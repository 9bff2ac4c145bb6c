"""What writing costs those who search: queries alone, beside ingest, and beside ingest and a rebuild.

Writers are processes of their own, as `kallos index` and a second server are; all share the cores.

Dimension key   Q queries, D embedding
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from benchmarks.generated import open_generated
from benchmarks.vectors import VectorSource
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact
from indexer.types import NewImage

K = 10
BATCH = 64  # pictures a write, as ingest does it
NEW_ROWS = 4096  # different vectors that come again and again
START_S = 60.0  # for the writers to begin
WARM_UP_S = 2.0
RECALL_QUERIES = 60


@dataclass(frozen=True, slots=True)
class MixedRow:
    """`written_per_s` pictures were added meanwhile; `behind` of them lay behind the index at the end.

    `cpu_p50_ms` and `cpu_p99_ms` are CPU time of the searching thread: without the waiting for a core.
    `recall` was measured when the writers had gone, over all pictures that were there then.
    """

    beside: str
    searches: int
    p50_ms: float
    p99_ms: float
    cpu_p50_ms: float
    cpu_p99_ms: float
    recall: float
    written_per_s: float
    behind: int


def measure_mixed(data_dir: Path, dim: int, seconds: float, recall: float) -> list[MixedRow]:
    """`data_dir` is changed: give it a copy."""
    collection = open_generated(data_dir, dim)
    query_QD = VectorSource(dim).queries(500)
    _search(collection, query_QD, recall, WARM_UP_S)
    rows = []
    for beside, jobs in (
        ("nothing", ()),
        ("ingest", ("ingest",)),
        ("ingest and rebuild", ("ingest", "rebuild")),
    ):
        writers = [
            subprocess.Popen([sys.executable, "-m", __name__, job, str(data_dir), str(dim)]) for job in jobs
        ]
        try:
            _wait_for(collection, jobs)
            before = collection.state().slots
            times = _search(collection, query_QD, recall, seconds)
            written = collection.state().slots - before
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
        rows.append(
            MixedRow(
                beside,
                len(times),
                _quantile([one.ms for one in times], 0.5),
                _quantile([one.ms for one in times], 0.99),
                _quantile([one.cpu_ms for one in times], 0.5),
                _quantile([one.cpu_ms for one in times], 0.99),
                round(_recall(collection, query_QD[:RECALL_QUERIES], recall), 4),
                round(written / seconds, 1),
                collection.info().unindexed_rows,
            )
        )
    collection.close()
    return rows


def _wait_for(collection: Collection, jobs: Sequence[str]) -> None:
    """Until every writer is at work."""
    slots = collection.state().slots
    until = time.perf_counter() + START_S
    at_work: dict[str, Callable[[], bool]] = {
        "ingest": lambda: collection.state().slots > slots,
        "rebuild": lambda: any(collection.folder.glob("build-*")),
    }
    for job in jobs:
        while not at_work[job]():
            if time.perf_counter() > until:
                raise TimeoutError(f"{job} did not begin within {START_S:g} s")
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class _Time:
    ms: float
    cpu_ms: float


def _search(
    collection: Collection, query_QD: Float32[ndarray, "q d"], recall: float, seconds: float
) -> list[_Time]:
    """One search after the other."""
    times: list[_Time] = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        before_s = time.thread_time()
        collection.snapshot().nearest(query_QD[len(times) % len(query_QD)], K, recall=recall)
        cpu_ms = 1e3 * (time.thread_time() - before_s)
        times.append(_Time(1e3 * (time.perf_counter() - started), cpu_ms))
    return times


def _quantile(ms: Sequence[float], share: float) -> float:
    return round(float(np.quantile(ms, share)), 3)


def _recall(collection: Collection, query_QD: Float32[ndarray, "q d"], recall: float) -> float:
    snapshot = collection.snapshot()
    hits = [
        len(np.intersect1d(snapshot.nearest(query_D, K, recall=recall).ids_K, exact.ids_K))
        for query_D in query_QD
        for exact in [snapshot.nearest(query_D, K, recall=1.0)]
    ]
    return sum(hits) / (K * len(query_QD))


def ingest(collection: Collection) -> None:
    """As fast as it goes, until killed."""
    vectors_ND = VectorSource(collection.dim, seed=8).queries(NEW_ROWS)
    number = collection.state().slots
    while True:
        images = [_image(number + i) for i in range(BATCH)]
        first = number % NEW_ROWS
        collection.add(images, np.take(vectors_ND, range(first, first + BATCH), axis=0, mode="wrap"))
        number += BATCH


def rebuild(collection: Collection) -> None:
    while True:
        compact(collection, Aims(memory_bytes=2**31, threads=1), family="ivf_rabitq", reclaim=False)


def _image(number: int) -> NewImage:
    return NewImage(
        uri=f"/new/{number}.jpg",
        sha256=f"{number:064x}",
        size=100_000,
        mtime_ns=1,
        width=640,
        height=480,
        format="jpeg",
        taken_at=None,
        metadata={},
    )


if __name__ == "__main__":
    {"ingest": ingest, "rebuild": rebuild}[sys.argv[1]](open_generated(Path(sys.argv[2]), int(sys.argv[3])))
