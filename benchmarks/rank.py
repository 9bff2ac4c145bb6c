"""`/rank` over the whole collection: an axis that is known, a new one, and what NumPy takes for the same.

Dimension key   N rows, D embedding
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float16, Float32, Int64
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.encoders.builtin import BuiltinEncoder
from indexer.filters.language import parse_filter
from indexer.imaging.decode import Limits
from indexer.tables.axes import Axis, AxisStore
from rerank.axes.statistics import MomentsCache
from rerank.axes.terms import AxisScorer
from rerank.query import QueryEncoder
from rerank.rank import Ranker
from rerank.types import RankQuery

TOP = 100
ASKED = 200  # times, of a warm axis
FRESH = 5  # axes nobody has asked for
BLOCK = 16_384
TENTH = parse_filter({"range": {"uniform": {"lt": 0.1}}})


@dataclass(frozen=True, slots=True)
class RankResult:
    """Milliseconds in process, metadata of the top 100 included; p50 where no other is named.

    `numpy_read` looks at every byte of the matrix once; `numpy_rank` projects it and picks the top 100.
    """

    warm_p50: float
    warm_p99: float
    filtered: float  # one picture in ten passes
    best_tenth: float  # by another axis
    cold: float
    cold_two_axes: float
    numpy_read: float
    numpy_rank: float


def measure_rank(collection: Collection) -> RankResult:
    """Over a collection of `benchmarks.generated.fill`. The answer is compared with NumPy's first."""
    store = AxisStore(collection.database, collection.name)
    queries = QueryEncoder(BuiltinEncoder(threads=1), Limits.from_memory())  # nobody asks it for words here
    ranker = Ranker(queries, AxisScorer(store, collection.model_id, MomentsCache()))
    rng = np.random.default_rng(11)
    axes = [_new_axis(store, collection, f"bench-{number}", rng) for number in range(2 * FRESH + 1)]
    known, *fresh = [axis.name for axis in axes]

    def ask(query: RankQuery) -> list[int]:
        return [hit.image.id - 1 for hit in ranker.rank(query, collection.snapshot(), None).hits]

    def top(**weights_and_more: object) -> Callable[[], list[int]]:
        return partial(ask, RankQuery(limit=TOP, **weights_and_more))  # type: ignore[arg-type]

    rows_ND, direction_D = collection.snapshot().matrix.rows_ND, axes[0].direction_D
    assert direction_D is not None
    if (
        len(np.intersect1d(ask(RankQuery({known: 1.0}, limit=TOP)), _numpy_top(rows_ND, direction_D)))
        < TOP - 1
    ):
        raise RuntimeError("the order is not NumPy's")
    cold = [_ms(top(axes={name: 1.0})) for name in fresh[:FRESH]]
    mixed = [_ms(top(axes={a: 1.0, b: 0.5})) for a, b in zip(fresh[:FRESH], fresh[FRESH:], strict=True)]
    warm = [_ms(top(axes={known: 1.0})) for _ in range(ASKED)]
    filtered = [_ms(top(axes={known: 1.0}, filter=TENTH)) for _ in range(FRESH + 1)]
    tenth = [_ms(top(axes={known: 1.0}, percentiles={fresh[0]: (90.0, 100.0)})) for _ in range(FRESH + 1)]
    return RankResult(
        warm_p50=_median(warm),
        warm_p99=round(float(np.quantile(warm, 0.99)), 3),
        filtered=_median(filtered[1:]),  # the first reads the column
        best_tenth=_median(tenth[1:]),
        cold=_median(cold),
        cold_two_axes=_median(mixed),
        numpy_read=_median([_ms(partial(_read_once, rows_ND)) for _ in range(FRESH)]),
        numpy_rank=_median([_ms(partial(_numpy_top, rows_ND, direction_D)) for _ in range(3)]),
    )


def _new_axis(store: AxisStore, collection: Collection, name: str, rng: np.random.Generator) -> Axis:
    direction_D = rng.standard_normal(collection.dim).astype(np.float32)
    direction_D /= np.linalg.norm(direction_D)
    card = "A random direction, to measure the time of an order."
    return store.put(
        Axis(name, "linear", "random", collection.model_id, direction_D, None, "weak", card, inputs={})
    )


def _read_once(rows_ND: Float16[ndarray, "n d"]) -> int:
    return int(np.bitwise_or.reduce(rows_ND.reshape(-1).view(np.uint64)))


def _numpy_top(rows_ND: Float16[ndarray, "n d"], direction_D: Float32[ndarray, " d"]) -> Int64[ndarray, " k"]:
    starts = range(0, len(rows_ND), BLOCK)
    blocks = [rows_ND[start : start + BLOCK].astype(np.float32) @ direction_D for start in starts]
    score_N = np.concatenate(blocks)
    best_K = np.argpartition(-score_N, TOP)[:TOP]
    return best_K[np.argsort(-score_N[best_K])]


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def _median(times_ms: list[float]) -> float:
    return round(float(np.median(times_ms)), 3)
