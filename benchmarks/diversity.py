"""What it costs to make a pool of hits diverse.

Dimension key   N hits, D embedding
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from rerank.diversity import (
    collapse,
    embedding_kernel,
    marginal_relevance,
    most_diverse,
    qualities,
    vendi_score,
)

POOL = 200
DIM = 512
THEMES = 12  # what the pool is about
NOISE = 0.6  # of a picture around its theme
WANTED = (10, 20, 30, 50)
REPEATS = 7


def measure_diversity() -> dict[str, float]:
    """CPU milliseconds, the median of `REPEATS`: other work on the machine does not count."""
    rng = np.random.default_rng(0)
    themes = rng.standard_normal((THEMES, DIM))
    rows_ND = themes[rng.integers(THEMES, size=POOL)] + NOISE * rng.standard_normal((POOL, DIM))
    vectors_ND = (rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)).astype(np.float32)
    score_N = np.sort(rng.random(POOL))[::-1]
    hashes = [f"{value:016x}" for value in rng.integers(2**63, size=POOL).tolist()]
    kernel_NN, quality_N = embedding_kernel(vectors_ND), qualities(score_N)
    found = {
        "collapse": _ms(partial(collapse, vectors_ND, hashes)),
        "embedding_kernel": _ms(partial(embedding_kernel, vectors_ND)),
        "vendi_score": _ms(partial(vendi_score, kernel_NN)),
    }
    for k in WANTED:
        found[f"marginal_relevance_{k}"] = _ms(partial(marginal_relevance, score_N, kernel_NN, k, trade=0.5))
        found[f"most_diverse_{k}"] = _ms(partial(most_diverse, quality_N, kernel_NN, k))
    return found


def _ms(work: Callable[[], object]) -> float:
    work()
    laps = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        laps.append(1e3 * (time.process_time() - started))
    return round(statistics.median(laps), 2)
