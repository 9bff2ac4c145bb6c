"""How much effort reaches which recall, measured on queries of the collection that training never saw.

Several kinds of query, and the worst of them counts: a picture looking for its neighbours; the mean of two
pictures, which lies where mixtures lie; and, where there are any, texts, which lie off the cloud of pictures
and are the hardest.

Dimension key   Q queries, N rows, D embedding, K results
"""

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann.index import Calibration, CandidateGenerator, Point
from indexer.ann.rows import Rows

QUERIES = 64  # of each kind: the standard error of a recall of 0.95 is then about 0.01
SIZES = (10, 100)
CANDIDATES = (2, 4, 8, 16, 32, 64)  # times k
ENOUGH = 0.999
USELESS = 0.6
BLOCK = 65_536


def calibration_rows(count: int) -> Int64[ndarray, " n"]:
    """Rows whose pictures are queries; training leaves them out."""
    return np.unique(np.linspace(0, count - 1, 3 * QUERIES).astype(np.int64))


def calibrate(
    generator: CandidateGenerator,
    rows: Rows,
    asked_QD: "Float32[ndarray, 'q d'] | None" = None,
    tick: Callable[[], None] = lambda: None,
) -> Calibration:
    """Measure `generator` over rows [0, built); `asked_QD` are queries of a third kind, such as texts."""
    covered = Rows(rows.rows_ND[: generator.built])
    chosen_N = calibration_rows(len(covered))
    vectors_ND = covered.take(chosen_N)
    pictures_QD = vectors_ND[: len(vectors_ND) // 3]
    mixed_QD = vectors_ND[len(vectors_ND) // 3 :]
    mixed_QD = mixed_QD[: len(mixed_QD) // 2] + mixed_QD[len(mixed_QD) // 2 :][: len(mixed_QD) // 2]
    mixed_QD /= np.maximum(np.linalg.norm(mixed_QD, axis=1, keepdims=True), 1e-6)
    points: list[Point] = []
    most = min(max(SIZES) + 1, len(covered))
    kinds = [pictures_QD, mixed_QD, *([] if asked_QD is None else [asked_QD])]
    truths = [(kind_QD, true_best(covered, kind_QD, most)) for kind_QD in kinds]
    for k in SIZES:
        for effort in generator.efforts():
            best = 0.0
            for factor in CANDIDATES:
                tick()
                point = _measure(generator, covered, truths, k, effort, factor * k)
                points.append(point)
                # More candidates bring nothing at this effort, or it is far from any recall worth asking for.
                if point.recall <= best + 0.002 or (factor >= 8 and point.recall < USELESS):
                    break
                best = point.recall
            if best >= ENOUGH:
                break
    return Calibration.of(points)


def _measure(
    generator: CandidateGenerator,
    rows: Rows,
    truths: list[tuple[Float32[ndarray, "q d"], Int64[ndarray, "q k"]]],
    k: int,
    effort: int,
    want: int,
) -> Point:
    shares = []
    started = time.perf_counter()
    for query_QD, truth_QK in truths:
        hits = 0
        # Rows equal to the query are found by any index and say nothing: they are left out of the truth
        # by asking for one more than k.
        for query_D, truth_K in zip(query_QD, truth_QK[:, : k + 1], strict=True):
            found = rows.best_of(query_D, generator.candidates(query_D, want, effort, None), k + 1)
            hits += len(np.intersect1d(found.rows_K, truth_K[1:], assume_unique=True))
        shares.append(hits / max(1, truth_QK[:, 1 : k + 1].size))
    seconds = time.perf_counter() - started
    queries = sum(len(query_QD) for query_QD, _ in truths)
    return Point(k, effort, want, round(min(shares), 4), round(1e6 * seconds / max(1, queries), 1))


def true_best(rows: Rows, query_QD: Float32[ndarray, "q d"], k: int) -> Int64[ndarray, "q k"]:
    """The true best `k` of each query, best first. In blocks: one pass over the rows serves all queries."""
    best_QK = np.full((len(query_QD), 0), -1, np.int64)
    score_QK = np.empty((len(query_QD), 0), np.float32)
    for start in range(0, len(rows), BLOCK):
        score_QB = query_QD @ rows.rows_ND[start : start + BLOCK].astype(np.float32).T
        some = min(k, score_QB.shape[1])
        top_QK = np.argpartition(-score_QB, some - 1, axis=1)[:, :some]
        score_QK = np.concatenate([score_QK, np.take_along_axis(score_QB, top_QK, axis=1)], axis=1)
        best_QK = np.concatenate([best_QK, top_QK + start], axis=1)
        order_QK = np.argsort(-score_QK, axis=1, kind="stable")[:, :k]
        score_QK = np.take_along_axis(score_QK, order_QK, axis=1)
        best_QK = np.take_along_axis(best_QK, order_QK, axis=1)
    return best_QK
