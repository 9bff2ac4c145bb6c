"""From the start of a process to its first correct answer, over a collection that is already there."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.generated import open_generated, row_numbers
from benchmarks.search import truth
from benchmarks.vectors import VectorSource
from indexer.errors import StoreError

K = 10
QUERIES = 20
RECALL = 0.95
CODE = "import sys; from benchmarks.restart import answer; answer(*sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class RestartResult:
    """Medians over several fresh processes; `cpu_s` does not hold what else the machine did meanwhile.

    `first_answer_s` counts from before the process exists, with the interpreter and all imports; `open_s`
    from opening the collection to its first answer.
    """

    first_answer_s: float
    cpu_s: float
    open_s: float
    recall: float


def measure_restart(data_dir: Path, dim: int, times: int) -> RestartResult:
    """Another query each time; StoreError when its answer shares nothing with the true one."""
    query_QD = VectorSource(dim).queries(max(times, QUERIES))
    truth_QK = truth(data_dir, query_QD)
    kept = data_dir / "queries.npy"
    np.save(kept, query_QD)
    walls, cpus, opens, hits = [], [], [], 0
    for number in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(data_dir), str(dim), str(kept), str(number)],
            stdout=subprocess.PIPE,
            check=True,
        )
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        said = json.loads(done.stdout)
        opens.append(said["open_s"])
        found = len(np.intersect1d(said["rows"], truth_QK[number]))
        if not found:
            raise StoreError(
                f"query {number} was answered with {said['rows']}: none of them is among the best"
            )
        hits += found
    wall_s, cpu_s, open_s = (round(float(np.median(values)), 3) for values in (walls, cpus, opens))
    return RestartResult(wall_s, cpu_s, open_s, round(hits / (K * times), 3))


def answer(data_dir: str, dim: str, queries: str, number: str) -> None:
    """What the fresh process does."""
    query_D = np.load(queries)[int(number)]
    started = time.perf_counter()
    collection = open_generated(Path(data_dir), int(dim))
    found = collection.snapshot().nearest(query_D, K, recall=RECALL)
    open_s = time.perf_counter() - started
    sys.stdout.write(json.dumps({"open_s": open_s, "rows": row_numbers(found.ids_K).tolist()}))
    collection.close()
