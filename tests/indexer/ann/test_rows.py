"""Exact scans."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np

from indexer.ann.rows import Rows

TEAM = 3


def test_a_scan_stays_in_the_thread_that_asked() -> None:
    """A team of OpenMP threads for each caller would fight for the cores; other FAISS calls keep theirs."""
    rows_ND = np.random.default_rng(1).standard_normal((500, 8)).astype(np.float16)
    rows = Rows(rows_ND)
    query_D = rows_ND[7].astype(np.float32)

    def scan() -> tuple[int, int]:
        faiss.omp_set_num_threads(TEAM)
        before = len(list(Path("/proc/self/task").iterdir()))
        found = rows.best(query_D, 3)
        assert found.rows_K.tolist() == np.argsort(-(rows_ND.astype(np.float32) @ query_D))[:3].tolist()
        return len(list(Path("/proc/self/task").iterdir())) - before, faiss.omp_get_max_threads()

    with ThreadPoolExecutor(1) as pool:
        started, team = pool.submit(scan).result()
    assert started == 0
    assert team == TEAM
