"""Which index fits a collection: the one that is fast enough in the memory there is, and why.

Constants were measured on two cores of an AMD EPYC (AVX-512), 1M x 512, page cache warm; they
need only be right by a factor of two: families differ by tens.
"""

from dataclasses import dataclass

import numpy as np

from indexer.ann.build import ITERATIONS, TRAIN_PER_LIST, lists_for
from indexer.ann.index import Family

SCAN_NS_PER_VALUE = 0.1  # exact scan, one thread
BUILD_GFLOPS = 80.0
FIXED_MS = 0.25
GRAPH_BYTES = 270


@dataclass(frozen=True, slots=True)
class Option:
    """`family` None scans exactly. `verdict` is why it was taken or left."""

    family: Family | None
    resident_mb: float
    query_ms: float
    build_s: float
    verdict: str

    @property
    def name(self) -> str:
        return self.family or "exact"


@dataclass(frozen=True, slots=True)
class Plan:
    """What `kallos compact` will build, with everything that was weighed."""

    chosen: Option
    options: tuple[Option, ...]

    @property
    def family(self) -> Family | None:
        return self.chosen.family


def plan(count: int, dim: int, *, memory_bytes: int, latency_ms: float) -> Plan:
    """Choose for `count` rows: exact while it meets `latency_ms`, else the first family that fits.

    `memory_bytes` is what the index may keep resident; the rows themselves are the page cache's.
    """
    drafts = [_exact(count, dim), *(_ivf(family, count, dim) for family in ("ivf_rabitq", "ivf_sq8"))]
    drafts.append(_hnsw(count, dim))
    options: list[Option] = []
    chosen: Option | None = None
    for draft in drafts:
        reasons = []
        if draft.query_ms > latency_ms:
            reasons.append(f"slower than {latency_ms:g} ms")
        if draft.resident_mb * 1e6 > memory_bytes:
            reasons.append(f"larger than {memory_bytes / 1e6:.0f} MB")
        if reasons:
            verdict = "no: " + " and ".join(reasons)
        elif chosen is None:
            verdict = (
                "chosen: exact, and fast enough" if draft.family is None else "chosen: smallest that fits"
            )
        else:
            verdict = "would do"
        option = Option(draft.family, draft.resident_mb, draft.query_ms, draft.build_s, verdict)
        chosen = option if verdict.startswith("chosen") else chosen
        options.append(option)
    if chosen is None:  # nothing fits: the smallest index is nearest to it
        second = options[1]
        chosen = Option(
            second.family, second.resident_mb, second.query_ms, second.build_s, "chosen: nothing fits better"
        )
        options[1] = chosen
    return Plan(chosen, tuple(options))


def _exact(count: int, dim: int) -> Option:
    return Option(None, 0.0, FIXED_MS + count * dim * SCAN_NS_PER_VALUE * 1e-6, 0.0, "")


def _ivf(family: str, count: int, dim: int) -> Option:
    lists = lists_for(count)
    code = dim / 8 + 8 if family == "ivf_rabitq" else dim
    resident = count * (code + 8) + 4 * lists * dim
    flops = 2.0 * dim * lists * (min(TRAIN_PER_LIST * lists, count) * ITERATIONS + count)
    scanned = 32 * count / lists
    per_row_ns = 20 if family == "ivf_rabitq" else 40
    query_ms = FIXED_MS + lists * dim * 0.08e-6 + scanned * per_row_ns * 1e-6
    return Option(
        "ivf_rabitq" if family == "ivf_rabitq" else "ivf_sq8",
        resident / 1e6,
        query_ms,
        flops / (BUILD_GFLOPS * 1e9),
        "",
    )


def _hnsw(count: int, dim: int) -> Option:
    build = count * 200e-6 * dim / 512 * np.log2(max(count, 2)) / 20
    return Option("hnsw", count * GRAPH_BYTES / 1e6, FIXED_MS + 0.4, float(build), "")
