"""Recall and speed when half of all pictures are deleted: before, after, and with their space given back."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.filter import truth_among
from benchmarks.generated import open_generated
from benchmarks.vectors import VectorSource
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact
from indexer.types import ImageId

K = 10
BATCH = 10_000
SEED = 3


@dataclass(frozen=True, slots=True)
class DeleteRow:
    when: str
    pictures: int
    rows: int
    recall: float
    p50_ms: float


def measure_deletes(
    data_dir: Path, dim: int, queries: int, recall: float, share: float = 0.5
) -> list[DeleteRow]:
    """`data_dir` is changed: give it a copy. Which pictures go is drawn, always the same."""
    collection = open_generated(data_dir, dim)
    rows = [_row(collection, "before", queries, recall)]
    rng = np.random.default_rng(SEED)
    ids = [known.id for known in collection.known().values()]
    gone = rng.choice(np.array(ids), int(share * len(ids)), replace=False)
    for start in range(0, len(gone), BATCH):
        collection.delete([ImageId(int(one)) for one in gone[start : start + BATCH]])
    rows.append(_row(collection, "deleted", queries, recall))
    compact(collection, Aims(memory_bytes=2**31, threads=2), family="ivf_rabitq", reclaim=True)
    rows.append(_row(collection, "compacted", queries, recall))
    collection.close()
    return rows


def _row(collection: Collection, when: str, queries: int, recall: float) -> DeleteRow:
    snapshot = collection.snapshot()
    query_QD = VectorSource(collection.dim).queries(queries)
    live_N = snapshot.live().mask()
    truth = truth_among(snapshot.matrix.rows_ND, query_QD, live_N)
    row_of = dict(zip(snapshot.ids(), snapshot.live().rows().tolist(), strict=True))  # both rising: no edits
    hits, ms = 0, []
    for query_D, best in zip(query_QD, truth, strict=True):
        started = time.perf_counter()
        found = snapshot.nearest(query_D, K, recall=recall)
        ms.append(1e3 * (time.perf_counter() - started))
        hits += len(np.intersect1d([row_of[ImageId(i)] for i in found.ids_K.tolist()], best))
    return DeleteRow(
        when,
        snapshot.images,
        len(snapshot.matrix),
        round(hits / (K * queries), 4),
        round(float(np.median(ms)), 3),
    )
