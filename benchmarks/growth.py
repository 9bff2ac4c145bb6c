"""The same figures at every size of a collection, with the index that `kallos bench search` measures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.apart import call_apart
from benchmarks.contenders.libraries import Kallos
from benchmarks.generated import fill
from benchmarks.processes import resident_mb
from benchmarks.search import build_apart, run_at, truth
from benchmarks.vectors import VectorSource
from indexer.disk.files import size_of

RECALL = 0.95


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """`resident_mb` is beside the page cache; building took `build_s`, and `build_cpu_s` on all threads."""

    pictures: int
    recall: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    qps: float
    build_s: float
    build_cpu_s: float
    resident_mb: float
    resident_bytes_per_vector: float
    disk_bytes_per_vector: float


def measure_growth(work: Path, counts: Sequence[int], dim: int, queries: int, cores: int) -> list[GrowthRow]:
    rows = []
    for count in counts:
        folder = work / f"{count}x{dim}"
        fill(folder, count, dim).close()
        took = build_apart("kallos", folder, dim, cores)
        found = call_apart(f"{__name__}:search", str(folder), dim, queries, cores, cores=cores)
        rows.append(GrowthRow(pictures=count, build_s=took.wall_s, build_cpu_s=took.cpu_s, **found))
    return rows


def search(folder: str, dim: int, queries: int, cores: int) -> dict[str, Any]:
    query_QD = VectorSource(dim).queries(queries)
    truth_QK = truth(Path(folder), query_QD)
    before_mb = resident_mb()
    kallos = Kallos.open(Path(folder), Path(folder), dim)
    run = asdict(run_at(kallos, RECALL, query_QD, truth_QK, [cores]))
    kept_mb = resident_mb() - before_mb
    count = kallos.collection.snapshot().images
    disk = size_of(kallos.collection.folder) + size_of(kallos.collection.database.path)
    kallos.close()
    return {key: run[key] for key in ("recall", "p50_ms", "p99_ms", "cpu_ms")} | {
        "qps": run["qps"][str(cores)],
        "resident_mb": round(kept_mb, 1),
        "resident_bytes_per_vector": round(kept_mb * 2**20 / count, 1),
        "disk_bytes_per_vector": round(disk / count, 1),
    }
