"""Recall against speed: every contender over the same rows and queries, each in a process of its own.

Dimension key   Q queries, D embedding, K results
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann.calibrate import true_best
from indexer.ann.rows import Rows
from service.bench.contenders import CONTENDERS, Contender, Effort, rows_of
from service.bench.vectors import VectorSource

K = 10
BUCKETS = (0.90, 0.95, 0.98, 0.99)
WARM_UP = 20
PASS_S = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """One contender at one effort. `qps` is with `clients` threads that each wait for their answer."""

    effort: str
    recall: float
    p50_ms: float
    p99_ms: float
    qps: dict[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """`anon_mb` is what the process keeps beside the page cache, less what it had before the build."""

    name: str
    build_s: float
    anon_mb: float
    runs: list[Run]

    def best(self, recall: float) -> Run | None:
        """The fastest run that reached `recall`."""
        reached = [run for run in self.runs if run.recall >= recall]
        return max(reached, key=lambda run: max(run.qps.values()), default=None)


def measure(name: str, data_dir: Path, dim: int, queries: int, clients: Sequence[int]) -> Result:
    """Build and search one contender in this process."""
    query_QD = VectorSource(dim).queries(queries)
    truth_QK = truth(data_dir, query_QD)
    before = anonymous_mb()
    started = time.perf_counter()
    contender = CONTENDERS[name](data_dir, dim)
    build_s = time.perf_counter() - started
    runs = [_run(contender, effort, query_QD, truth_QK, clients) for effort in contender.efforts]
    return Result(name, round(build_s, 2), round(anonymous_mb() - before, 1), runs)


def measure_apart(name: str, data_dir: Path, dim: int, queries: int, clients: Sequence[int]) -> Result:
    """`measure` in a fresh process: no contender inherits another's memory or threads."""
    code = (
        "import json, sys; from dataclasses import asdict; from pathlib import Path\n"
        "from service.bench.search import measure\n"
        "name, folder, dim, queries, clients = json.loads(sys.argv[1])\n"
        "print(json.dumps(asdict(measure(name, Path(folder), dim, queries, clients))))"
    )
    arguments = json.dumps([name, str(data_dir), dim, queries, list(clients)])
    done = subprocess.run(
        [sys.executable, "-c", code, arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    fields = json.loads(done.stdout.splitlines()[-1])
    return Result(**(fields | {"runs": [Run(**run) for run in fields["runs"]]}))


def truth(data_dir: Path, query_QD: Float32[ndarray, "q d"]) -> Int64[ndarray, "q k"]:
    """The true best K of each query, by brute force; kept beside the data."""
    kept = data_dir / f"truth-{len(query_QD)}.npy"
    rows_ND = rows_of(data_dir, query_QD.shape[1])
    if kept.exists() and kept.stat().st_mtime > (data_dir / "default" / "vectors.f16").stat().st_mtime:
        return np.load(kept)
    best_QK = true_best(Rows(rows_ND), query_QD, K)
    np.save(kept, best_QK)
    return best_QK


def anonymous_mb() -> float:
    """Memory of this process that is not a file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _run(
    contender: Contender,
    effort: Effort,
    query_QD: Float32[ndarray, "q d"],
    truth_QK: Int64[ndarray, "q k"],
    clients: Sequence[int],
) -> Run:
    started = time.perf_counter()
    for query_D in query_QD[:WARM_UP]:
        contender.search(query_D, K, effort)
    one_s = (time.perf_counter() - started) / WARM_UP
    some = max(WARM_UP, int(PASS_S / one_s))  # whoever is slow need not answer all of them
    query_QD, truth_QK = query_QD[:some], truth_QK[:some]
    found, seconds = [], []
    for query_D in query_QD:
        started = time.perf_counter()
        found.append(contender.search(query_D, K, effort))
        seconds.append(time.perf_counter() - started)
    hits = sum(len(np.intersect1d(f, t)) for f, t in zip(found, truth_QK, strict=True))
    qps = {str(n): round(_throughput(contender, effort, query_QD, n), 1) for n in clients}
    return Run(
        str(effort),
        round(hits / truth_QK.size, 4),
        round(1e3 * float(np.median(seconds)), 3),
        round(1e3 * float(np.quantile(seconds, 0.99)), 3),
        qps,
    )


def _throughput(
    contender: Contender, effort: Effort, query_QD: Float32[ndarray, "q d"], clients: int
) -> float:
    def ask(query_D: Float32[ndarray, " d"]) -> None:
        contender.search(query_D, K, effort)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, query_QD[:WARM_UP]))
        started = time.perf_counter()
        list(pool.map(ask, query_QD))
        return len(query_QD) / (time.perf_counter() - started)


def as_json(results: Sequence[Result]) -> list[dict[str, object]]:
    """With the fastest run of each recall bucket beside all runs."""
    rows: list[dict[str, object]] = []
    for result in results:
        best = {f"{bucket:.2f}": result.best(bucket) for bucket in BUCKETS}
        rows.append(
            asdict(result) | {"at_recall": {key: asdict(run) if run else None for key, run in best.items()}}
        )
    return rows
