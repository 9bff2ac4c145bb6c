"""The same figures at every size of a collection, with the index that Kallos chooses for it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.compaction import Aims, compact
from indexer.files import size_of
from service.bench.apart import call_apart
from service.bench.contenders.libraries import Kallos
from service.bench.generated import fill, open_generated
from service.bench.processes import Clock, resident_mb
from service.bench.search import run_at, truth
from service.bench.vectors import VectorSource

RECALL = 0.95
MEMORY = 2**32


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """`resident_mb` is beside the page cache; `build_s` and `build_cpu_s` are None if it was built before."""

    pictures: int
    family: str
    recall: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    qps: float
    build_s: float | None
    build_cpu_s: float | None
    resident_mb: float
    resident_bytes_per_vector: float
    disk_bytes_per_vector: float


def measure_growth(work: Path, counts: Sequence[int], dim: int, queries: int, cores: int) -> list[GrowthRow]:
    rows = []
    for count in counts:
        folder = work / f"{count}x{dim}"
        fill(folder, count, dim).close()
        took = call_apart(f"{__name__}:build", str(folder), dim, cores, cores=cores)
        found = call_apart(f"{__name__}:search", str(folder), dim, queries, cores, cores=cores)
        rows.append(GrowthRow(pictures=count, **took, **found))
    return rows


def build(folder: str, dim: int, cores: int) -> dict[str, Any]:
    """The index that the plan names, unless it is there."""
    collection = open_generated(Path(folder), dim)
    clock = Clock.start()
    built = collection.view().built
    if not built:
        compact(collection, Aims(memory_bytes=MEMORY, threads=cores))
    took = clock.read()
    family = collection.view().family or "exact"
    collection.close()
    return {
        "family": family,
        "build_s": None if built else round(took.wall_s, 1),
        "build_cpu_s": None if built else round(took.cpu_s, 1),
    }


def search(folder: str, dim: int, queries: int, cores: int) -> dict[str, Any]:
    query_QD = VectorSource(dim).queries(queries)
    truth_QK = truth(Path(folder), query_QD)
    before_mb = resident_mb()
    kallos = Kallos.open(Path(folder), Path(folder), dim)
    run = asdict(run_at(kallos, RECALL, query_QD, truth_QK, [cores]))
    kept_mb = resident_mb() - before_mb
    count = len(kallos.collection.view().matrix)
    disk = size_of(kallos.collection.folder) + size_of(kallos.collection.database.path)
    kallos.close()
    return {key: run[key] for key in ("recall", "p50_ms", "p99_ms", "cpu_ms")} | {
        "qps": run["qps"][str(cores)],
        "resident_mb": round(kept_mb, 1),
        "resident_bytes_per_vector": round(kept_mb * 2**20 / count, 1),
        "disk_bytes_per_vector": round(disk / count, 1),
    }
