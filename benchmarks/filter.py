"""Searching under a filter: recall and time by how many pictures pass it, and by how they lie to the query.

    uncorrelated      field `uniform` knows nothing of the vectors
    correlated        pictures that lean most to a pole; the queries are pictures of that pole's theme
    anti-correlated   pictures that lean least to it, for the same queries

Three poles: a theme of a seventh of all pictures, one of 0.3 %, one of 0.002 %.

Dimension key   N rows, D embedding, Q queries, K results
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from benchmarks.generated import row_numbers
from benchmarks.vectors import POLES, VectorSource
from indexer.collection.collection import Collection
from indexer.filters.language import parse_filter
from indexer.where import Matching

K = 10
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
MOST_TIMES_UNFILTERED = 3.0
OR_MS = 15.0
BLOCK = 65_536
SETTLE_S = 0.5  # threads of the library that computed the last truth go on spinning for a while


@dataclass(frozen=True, slots=True)
class Case:
    """One filter and the queries that meet it. `share` is what was aimed at."""

    kind: str
    share: float
    condition: dict[str, Any]
    query_QD: Float32[ndarray, "q d"]


@dataclass(frozen=True, slots=True)
class FilterRow:
    """`p50_ms` with the filter known; `first_ms` is the first search under it, which also evaluates it.

    `cpu_ms` is the mean CPU time, `recall` the mean of all queries, `worst_recall` that of the worst filter;
    `modes` says how many queries were answered how.
    """

    kind: str
    share: float
    matches: int
    recall: float
    worst_recall: float
    p50_ms: float
    p99_ms: float
    first_ms: float
    cpu_ms: float
    modes: dict[str, int]


@dataclass(frozen=True, slots=True)
class FilterReport:
    """`limit_ms` is what no p50 may exceed; `column_s` what reading a field of all pictures took, once."""

    recall_asked: float
    unfiltered_recall: float
    unfiltered_p50_ms: float
    limit_ms: float
    column_s: float
    rows: list[FilterRow]


def measure_filters(collection: Collection, queries: int, recall: float) -> FilterReport:
    """`queries` for each kind and share, over the poles for the correlated ones."""
    snapshot = collection.snapshot()
    rows_ND = snapshot.matrix.rows_ND
    query_QD = VectorSource(collection.dim).queries(queries)
    for query_D in query_QD:  # touches what any search touches
        snapshot.nearest(query_D, K, recall=recall)
    plain = [_timed(lambda q=query_D: snapshot.nearest(q, K, recall=recall)) for query_D in query_QD]
    plain_recall = _recall(
        [row_numbers(found.ids_K) for _, found in plain], truth_among(rows_ND, query_QD, None)
    )
    p50_ms = float(np.median([ms for ms, _ in plain]))
    fields = ("uniform", *(f"lean_{pole}" for pole in range(len(POLES))))
    columns = [
        _timed(lambda f=field: snapshot.count(Matching(parse_filter({"exists": f}))))[0] for field in fields
    ]
    found = [
        (kind, share, [_case(collection, case, recall) for case in cases])
        for kind, share, cases in _grouped(_cases(collection, queries))
    ]
    return FilterReport(
        recall,
        round(plain_recall, 4),
        round(p50_ms, 3),
        round(max(MOST_TIMES_UNFILTERED * p50_ms, OR_MS), 3),
        round(float(np.median(columns)) / 1e3, 2),
        [_row(kind, share, measured) for kind, share, measured in found],
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    matches: int
    recall_Q: list[float]
    ms_Q: list[float]
    first_ms: float
    cpu_ms: float
    modes: list[str]


def _cases(collection: Collection, queries: int) -> Iterator[Case]:
    source = VectorSource(collection.dim)
    query_QD = source.queries(queries)
    lean_PN = _leans(collection, source)
    about = [source.queries_about(theme, -(-queries // len(POLES))) for theme in POLES]
    for share in SHARES:
        yield Case("uncorrelated", share, {"range": {"uniform": {"lt": share}}}, query_QD)
        for pole, lean_N in enumerate(lean_PN):
            least, most = np.quantile(lean_N, [share, 1.0 - share])
            field = f"lean_{pole}"
            yield Case("correlated", share, {"range": {field: {"gte": float(most)}}}, about[pole])
            yield Case("anti-correlated", share, {"range": {field: {"lte": float(least)}}}, about[pole])


def _leans(collection: Collection, source: VectorSource) -> Float32[ndarray, "p n"]:
    rows_ND = collection.snapshot().matrix.rows_ND
    return np.concatenate(
        [
            source.pole_PD @ rows_ND[start : start + BLOCK].astype(np.float32).T
            for start in range(0, len(rows_ND), BLOCK)
        ],
        axis=1,
    )


def _grouped(cases: Iterator[Case]) -> list[tuple[str, float, list[Case]]]:
    grouped: dict[tuple[str, float], list[Case]] = {}
    for case in cases:
        grouped.setdefault((case.kind, case.share), []).append(case)
    return [(kind, share, some) for (kind, share), some in sorted(grouped.items(), reverse=True)]


def _case(collection: Collection, case: Case, recall: float) -> _Measured:
    snapshot = collection.snapshot()
    where = Matching(parse_filter(case.condition))
    first_ms, _ = _timed(lambda: snapshot.nearest(case.query_QD[0], K, where, recall=recall))
    allow = snapshot.compile(where)
    time.sleep(SETTLE_S)
    before_s = time.process_time()
    timed = [
        _timed(lambda q=query_D: snapshot.nearest(q, K, where, recall=recall)) for query_D in case.query_QD
    ]
    cpu_ms = 1e3 * (time.process_time() - before_s) / len(timed)
    truth = truth_among(snapshot.matrix.rows_ND, case.query_QD, allow.mask())
    recall_Q = [
        len(np.intersect1d(row_numbers(found.ids_K), best)) / max(1, len(best))
        for (_, found), best in zip(timed, truth, strict=True)
    ]
    return _Measured(
        allow.count, recall_Q, [ms for ms, _ in timed], first_ms, cpu_ms, [f.mode for _, f in timed]
    )


def _row(kind: str, share: float, measured: Sequence[_Measured]) -> FilterRow:
    ms = [one for case in measured for one in case.ms_Q]
    modes = [mode for case in measured for mode in case.modes]
    return FilterRow(
        kind,
        share,
        round(float(np.mean([case.matches for case in measured]))),
        round(float(np.mean([one for case in measured for one in case.recall_Q])), 4),
        round(min(float(np.mean(case.recall_Q)) for case in measured), 4),
        round(float(np.median(ms)), 3),
        round(float(np.quantile(ms, 0.99)), 3),
        round(float(np.median([case.first_ms for case in measured])), 3),
        round(float(np.mean([case.cpu_ms for case in measured])), 3),
        {mode: modes.count(mode) for mode in sorted(set(modes))},
    )


def truth_among(
    rows_ND: ndarray, query_QD: Float32[ndarray, "q d"], allowed_N: "Bool[ndarray, ' n'] | None"
) -> list[Int64[ndarray, " k"]]:
    """The true best K allowed rows of each query, by brute force in NumPy; fewer where fewer are allowed."""
    row_M = np.arange(len(rows_ND)) if allowed_N is None else np.flatnonzero(allowed_N)
    best_QK = np.empty((len(query_QD), 0), np.int64)
    score_QK = np.empty((len(query_QD), 0), np.float32)
    for start in range(0, len(row_M), BLOCK):
        block = row_M[start : start + BLOCK]
        score_QB = query_QD @ rows_ND[block].astype(np.float32).T
        top_QK = np.argpartition(-score_QB, min(K, len(block)) - 1, axis=1)[:, :K]
        score_QK = np.concatenate([score_QK, np.take_along_axis(score_QB, top_QK, axis=1)], axis=1)
        best_QK = np.concatenate([best_QK, block[top_QK]], axis=1)
    order_QK = np.argsort(-score_QK, axis=1, kind="stable")[:, :K]
    best_QK = np.take_along_axis(best_QK, order_QK, axis=1)
    return list(best_QK)


def _recall(found: Sequence[ndarray], truth: Sequence[ndarray]) -> float:
    hits = sum(len(np.intersect1d(f, t)) for f, t in zip(found, truth, strict=True))
    return hits / sum(len(t) for t in truth)


def _timed(ask: Any) -> tuple[float, Any]:  # noqa: ANN401
    started = time.perf_counter()
    answer = ask()
    return 1e3 * (time.perf_counter() - started), answer
