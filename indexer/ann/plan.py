"""Which index fits a collection: the one that is fast enough in the memory there is, and why.

Constants were measured on two cores of an AMD EPYC (AVX-512), 1M x 512, page cache warm; they
need only be right by a factor of two: families differ by tens. Those of a GPU are not measured: they follow
from the memory bandwidth of a small one (300 GB/s).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from indexer.ann.build import ITERATIONS, TRAIN_PER_LIST, lists_for
from indexer.ann.gpu import LINKS as CAGRA_LINKS
from indexer.ann.index import Family

SCAN_NS_PER_VALUE = 0.1  # exact scan, one thread
BUILD_GFLOPS = 80.0
FIXED_MS = 0.25
GRAPH_BYTES = 270
GPU_GB_PER_S = 300.0
GPU_FIXED_MS = 0.5  # kernel launches and the two copies
GPU_WALK_MS = 0.5  # through a CAGRA graph
CAGRA_BYTES = 4 * CAGRA_LINKS
CAGRA_ROWS_PER_S = 50_000.0  # built


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


def plan(
    count: int,
    dim: int,
    *,
    memory_bytes: int,
    latency_ms: float,
    gpu: bool = False,
    cagra: bool = False,
) -> Plan:
    """Choose for `count` rows: exact while it meets `latency_ms`, else the first family that fits.

    `memory_bytes` is what the index may keep resident, of the GPU's memory where it is searched there; the
    rows themselves are the page cache's. `cagra`: the GPU's FAISS builds such graphs.
    """
    options: list[Option] = []
    chosen: Option | None = None
    for draft in _drafts(count, dim, gpu, cagra):
        reasons = []
        if draft.query_ms > latency_ms:
            reasons.append(f"slower than {latency_ms:g} ms")
        if draft.resident_mb * 1e6 > memory_bytes:
            reasons.append(f"larger than {memory_bytes / 1e6:.0f} MB")
        if reasons:
            verdict = "no: " + " and ".join(reasons)
        elif chosen is None:
            verdict = (
                "chosen: exact, and fast enough" if draft.family is None else "chosen: the first that fits"
            )
        else:
            verdict = "would do"
        option = replace(draft, verdict=verdict)
        chosen = option if verdict.startswith("chosen") else chosen
        options.append(option)
    if chosen is None:  # nothing fits: the smallest index is nearest to it
        at = next(i for i, option in enumerate(options) if option.family == "ivf_rabitq")
        chosen = options[at] = replace(options[at], verdict="chosen: nothing fits better")
    return Plan(chosen, tuple(options))


def _drafts(count: int, dim: int, gpu: bool, cagra: bool) -> list[Option]:
    """In the order of preference: what only a CPU reads comes behind what a GPU does."""
    on_gpu = [_flat(count, dim)] if gpu else []
    on_gpu += [_cagra(count, dim)] if cagra else []
    rabitq, sq8 = _ivf("ivf_rabitq", count, dim), _ivf("ivf_sq8", count, dim, gpu=gpu)
    inverted = [sq8, rabitq] if gpu else [rabitq, sq8]
    return [_exact(count, dim), *on_gpu, *inverted, _hnsw(count, dim)]


def _exact(count: int, dim: int) -> Option:
    return Option(None, 0.0, FIXED_MS + count * dim * SCAN_NS_PER_VALUE * 1e-6, 0.0, "")


def _flat(count: int, dim: int) -> Option:
    size = 2.0 * count * dim
    return Option("flat", size / 1e6, GPU_FIXED_MS + size / GPU_GB_PER_S * 1e-6, 0.0, "")


def _cagra(count: int, dim: int) -> Option:
    size = count * (2.0 * dim + CAGRA_BYTES)
    return Option("cagra", size / 1e6, GPU_FIXED_MS + GPU_WALK_MS, count / CAGRA_ROWS_PER_S, "")


def _ivf(family: Literal["ivf_rabitq", "ivf_sq8"], count: int, dim: int, *, gpu: bool = False) -> Option:
    lists = lists_for(count)
    code = dim / 8 + 8 if family == "ivf_rabitq" else dim
    resident = count * (code + 8) + 4 * lists * dim
    flops = 2.0 * dim * lists * (min(TRAIN_PER_LIST * lists, count) * ITERATIONS + count)
    scanned = 32 * count / lists
    if gpu:
        query_ms = GPU_FIXED_MS + (4 * lists * dim + scanned * code) / GPU_GB_PER_S * 1e-6
    else:
        per_row_ns = 20 if family == "ivf_rabitq" else 40
        query_ms = FIXED_MS + lists * dim * 0.08e-6 + scanned * per_row_ns * 1e-6
    return Option(family, resident / 1e6, query_ms, flops / (BUILD_GFLOPS * 1e9), "")


def _hnsw(count: int, dim: int) -> Option:
    build = count * 200e-6 * dim / 512 * np.log2(max(count, 2)) / 20
    return Option("hnsw", count * GRAPH_BYTES / 1e6, FIXED_MS + 0.4, float(build), "")
