"""Recall against speed: every contender over the same rows and queries, each in a process of its own.

Dimension key   Q queries, D embedding, K results
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from benchmarks.apart import call_apart
from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.contender import Built, Contender, Effort, build, built, home_of
from benchmarks.generated import rows_of
from benchmarks.own import queries_for
from benchmarks.processes import cpu_s_of, resident_mb
from indexer.ann.calibrate import true_best
from indexer.ann.rows import Rows

K = 10
BUCKETS = (0.90, 0.95, 0.98, 0.99)
WARM_UP = 20
PASS_S = 4.0
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Run:
    """One contender at one effort. `qps` is with `clients` threads that each wait for their answer.

    `cpu_ms` is CPU time a query, servers included: it changes far less with what else the machine does.
    """

    effort: str
    recall: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    qps: dict[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """`resident_mb` is what searching keeps beside the page cache, servers included, less a bare process."""

    name: str
    built: Built
    resident_mb: float
    runs: list[Run]

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Result":
        runs = [Run(**run) for run in fields["runs"]]
        return cls(fields["name"], Built(**fields["built"]), fields["resident_mb"], runs)

    def best(self, recall: float) -> Run | None:
        """The fastest run that reached `recall`."""
        reached = [run for run in self.runs if run.recall >= recall]
        return max(reached, key=lambda run: max(run.qps.values()), default=None)


def build_apart(name: str, data_dir: Path, dim: int, cores: int) -> Built:
    """Unless an earlier run has built it: a graph over a million rows takes a quarter of an hour and more."""
    done = built(data_dir, name)
    if done is not None:
        return done
    alone = CONTENDERS[name].alone
    return Built(
        **call_apart(f"{__name__}:build_here", name, str(data_dir), dim, cores, cores=cores, alone=alone)
    )


def build_here(name: str, data_dir: str, dim: int, cores: int) -> dict[str, Any]:
    return asdict(build(CONTENDERS[name], Path(data_dir), name, dim, cores))


def measure_apart(
    name: str, data_dir: Path, dim: int, queries: int, clients: Sequence[int], cores: int
) -> Result:
    """`measure` in a fresh process."""
    arguments = (name, str(data_dir), dim, queries, list(clients), cores)
    alone = CONTENDERS[name].alone
    return Result.of(call_apart(f"{__name__}:measure", *arguments, cores=cores, alone=alone))


def measure(
    name: str, data_dir: str, dim: int, queries: int, clients: Sequence[int], cores: int
) -> dict[str, Any]:
    """Search one contender, built before, in this process."""
    folder = Path(data_dir)
    query_QD = queries_for(folder, dim, queries)
    truth_QK = truth(folder, query_QD)
    before_mb = resident_mb()
    done = built(folder, name)
    assert done is not None
    contender = CONTENDERS[name].open(folder, home_of(folder, name), dim)
    try:
        runs = [run_at(contender, effort, query_QD, truth_QK, clients) for effort in contender.efforts]
        kept_mb = resident_mb(contender.servers) - before_mb
    finally:
        contender.close()
    return asdict(Result(name, done, round(kept_mb, 1), runs))


def truth(data_dir: Path, query_QD: Float32[ndarray, "q d"]) -> Int64[ndarray, "q k"]:
    """The true best K of each query, by brute force; kept beside the data."""
    kept = data_dir / f"truth-{len(query_QD)}.npy"
    rows_ND = rows_of(data_dir, query_QD.shape[1])
    if kept.exists() and kept.stat().st_mtime > (data_dir / "default" / "vectors.f16").stat().st_mtime:
        return np.load(kept)
    best_QK = true_best(Rows(rows_ND), query_QD, K)
    np.save(kept, best_QK)
    return best_QK


def run_at(
    contender: Contender,
    effort: Effort,
    query_QD: Float32[ndarray, "q d"],
    truth_QK: Int64[ndarray, "q k"],
    clients: Sequence[int],
) -> Run:
    contender.search(query_QD[0], K, effort)  # the first one opens files
    started = time.perf_counter()
    contender.search(query_QD[0], K, effort)
    contender.search(query_QD[1], K, effort)
    some = max(FEWEST, int(2 * PASS_S / (time.perf_counter() - started)))  # the slow answer fewer
    query_QD, truth_QK = query_QD[:some], truth_QK[:some]
    for query_D in query_QD[: WARM_UP if some > 2 * WARM_UP else 0]:
        contender.search(query_D, K, effort)
    found, seconds = [], []
    before_s = _cpu_s(contender)
    for query_D in query_QD:
        started = time.perf_counter()
        found.append(contender.search(query_D, K, effort))
        seconds.append(time.perf_counter() - started)
    cpu_s = _cpu_s(contender) - before_s
    hits = sum(len(np.intersect1d(f, t)) for f, t in zip(found, truth_QK, strict=True))
    qps = {str(n): round(_throughput(contender, effort, query_QD, n), 1) for n in clients}
    return Run(
        str(effort),
        round(hits / truth_QK.size, 4),
        round(1e3 * float(np.median(seconds)), 3),
        round(1e3 * float(np.quantile(seconds, 0.99)), 3),
        round(1e3 * cpu_s / len(query_QD), 3),
        qps,
    )


def _cpu_s(contender: Contender) -> float:
    return time.process_time() + sum(cpu_s_of(server) for server in contender.servers)


def _throughput(
    contender: Contender, effort: Effort, query_QD: Float32[ndarray, "q d"], clients: int
) -> float:
    def ask(query_D: Float32[ndarray, " d"]) -> None:
        contender.search(query_D, K, effort)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, query_QD[:clients]))  # each thread has connected, and each core has woken up
        started = time.perf_counter()
        list(pool.map(ask, query_QD))
        return len(query_QD) / (time.perf_counter() - started)


def merged(path: Path, here: dict[str, Any], result: Result, rows: int) -> dict[str, Any]:
    """The document of `path` with `result` in it, in place of what an earlier run found for that contender.

    Each contender has the circumstances of its own measurement, and the fastest run of each recall bucket.
    """
    best = {f"{bucket:.2f}": result.best(bucket) for bucket in BUCKETS}
    entry = (
        asdict(result)
        | {"resident_bytes_per_vector": round(result.resident_mb * 2**20 / rows)}
        | {"at_recall": {key: asdict(run) if run else None for key, run in best.items()}}
        | {key: here[key] for key in ("time", "load", "versions", "commit")}
    )
    before = json.loads(path.read_text())["contenders"] if path.exists() else []
    others = [one for one in before if one["name"] != result.name and "built" in one]
    order = list(CONTENDERS)
    return here | {"contenders": sorted([*others, entry], key=lambda one: order.index(one["name"]))}
