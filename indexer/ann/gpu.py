"""An index on a GPU: a clone of the immutable one on disk, which proposes rows like any other.

A clone is given no selector: FAISS's own kernels ignore one without a word, only those of cuVS read it. It is
asked for more rows instead, and those that are not allowed are dropped. What that cannot serve, above all a
narrow filter, is searched on the CPU: by the same index where the CPU has it, else by scanning.

Dimension key   D embedding, K proposed rows
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann import faiss_interface as faiss
from indexer.ann.bitmap import Bitmap
from indexer.ann.flat import Flat
from indexer.ann.index import CandidateGenerator
from indexer.ann.ivf import Ivf
from indexer.ann.rows import Rows
from indexer.ann.segment import real
from indexer.errors import UnavailableError

LOG = logging.getLogger("kallos.index")
MOST_RESULTS = 1024  # and lists probed: the smallest bound among FAISS's kernels and those of cuVS
DENSE = 0.5  # share of allowed rows from which asking for more finds enough of them
SLACK = 1.2  # more than the share asks for: allowed rows are not spread evenly
LINKS = 32  # of each row in a CAGRA graph

Index = Any
"""An index of FAISS, which are SWIG classes."""

Ask = Callable[[Index, Float32[ndarray, "1 d"], int, int], Int64[ndarray, "1 k"]]
"""(index on a device, query, k, effort) → rows, best first. One for each family."""


class Gpu:
    """One device. Searches take turns: they share its scratch memory, and FAISS guards none of it.

    `clone` puts an index of FAISS there. `failures` counts what the device could not do, for lack of memory
    above all; the CPU did it.
    """

    def __init__(
        self,
        name: str,
        clone: Callable[[Index], Index],
        resources: Any = None,  # noqa: ANN401
        *,
        has_cagra: bool = False,
    ) -> None:
        self.name = name
        self.clone = clone
        self.resources = resources
        self.has_cagra = has_cagra
        self.turn = Lock()
        self.failures = 0

    @classmethod
    def find(cls) -> "Gpu | None":
        """The first device; None without one, or when FAISS is a build for CPUs."""
        if faiss.get_num_gpus() == 0:
            return None
        to_gpu = faiss.gpu_symbol("index_cpu_to_gpu")
        resources = faiss.gpu_symbol("StandardGpuResources")()
        return cls(
            "gpu:0",
            lambda index: to_gpu(resources, 0, index),
            resources,
            has_cagra=faiss.has_cagra(),
        )


class OnGpu:
    """`index` on `gpu`, over `built` rows. `original` is the same index on the CPU, where it has one."""

    def __init__(
        self,
        gpu: Gpu,
        index: Index,
        ask: Ask,
        *,
        built: int,
        efforts: Sequence[int],
        original: CandidateGenerator | None = None,
    ) -> None:
        self._gpu = gpu
        self._index = index
        self._ask = ask
        self._built = built
        self._efforts = [effort for effort in efforts if effort <= MOST_RESULTS]
        self._original = original

    @property
    def built(self) -> int:
        return self._built

    @property
    def filtered_effort(self) -> int:
        return 0 if self._original is None else self._original.filtered_effort

    def filter_locality(self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap) -> float:
        return 0.0 if self._original is None else self._original.filter_locality(query_D, effort, allow)

    def efforts(self) -> list[int]:
        return self._efforts

    @property
    def extendable(self) -> None:
        return None

    def candidates(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        """None at all where neither the device nor `original` can be sure: then scan exactly."""
        want = min(want, self._built)
        share = 1.0 if allow is None else allow.count / max(1, allow.size)
        ask = want if allow is None else min(int(SLACK * want / max(share, DENSE)) + 1, self._built)
        if share < DENSE or max(ask, effort) > MOST_RESULTS:
            return self._elsewhere(query_D, want, effort, allow)
        try:
            with self._gpu.turn:
                found_K = real(self._ask(self._index, query_D[None, :], ask, effort)[0])
        except RuntimeError as error:  # FAISS knows no other kind; the message tells
            self._gpu.failures += 1
            LOG.warning("%s failed, the CPU answers: %s", self._gpu.name, error)
            return self._elsewhere(query_D, want, effort, allow)
        if allow is not None:
            found_K = found_K[allow.has(found_K)]
            if len(found_K) < want:  # what is allowed lies elsewhere
                return self._elsewhere(query_D, want, effort, allow)
        return np.unique(found_K[:want])

    def _elsewhere(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        if self._original is None:
            return np.empty(0, np.int64)
        return self._original.candidates(query_D, want, effort, allow)


@dataclass(frozen=True, slots=True)
class Placed:
    """`where` is the device's name, or `cpu` with the reason when a device was to be had."""

    generator: CandidateGenerator
    where: str


def place(generator: Flat | Ivf, gpu: Gpu | None) -> Placed:
    """`generator` on `gpu`; as it is when there is none, or when it does not fit there."""
    if gpu is None:
        return Placed(generator, "cpu: FAISS sees no GPU" if isinstance(generator, Flat) else "cpu")
    ask = _ask_flat if isinstance(generator, Flat) else _ask_ivf
    try:
        index = gpu.clone(generator.index)
    except RuntimeError as error:
        gpu.failures += 1
        reason = str(error).partition("\n")[0]
        LOG.warning("the index stays on the CPU: %s could not take it: %s", gpu.name, reason)
        return Placed(generator, f"cpu: {gpu.name} could not take the index: {reason}")
    on_gpu = OnGpu(gpu, index, ask, built=generator.built, efforts=generator.efforts(), original=generator)
    return Placed(on_gpu, gpu.name)


def load_cagra(path: Path, rows: Rows, gpu: Gpu | None) -> Placed:
    """A graph whose checksum has been checked, over the first of `rows`.

    Raises:
        UnavailableError: There is no device that takes it. What was calibrated there says nothing of a CPU.
    """
    if gpu is None or not gpu.has_cagra:
        raise UnavailableError(f"{path.name} is a CAGRA graph: expected a GPU and faiss-gpu-cuvs")
    graph = faiss.read_index(path, faiss.IO_FLAG_SKIP_STORAGE)
    covered = Rows(rows.rows_ND[: graph.ntotal])
    graph.storage, graph.own_fields = covered.index, False
    try:
        index = gpu.clone(graph)
    except RuntimeError as error:
        gpu.failures += 1
        raise UnavailableError(f"{gpu.name} could not take {path.name}: {error}") from error
    index.referenced_objects = [graph, covered]  # the device copies neither at once
    efforts = [16, 32, 64, 128, 256, 512]
    return Placed(OnGpu(gpu, index, _ask_cagra, built=len(covered), efforts=efforts), gpu.name)


class CagraBuild:
    """A graph made on the device, in one step."""

    def __init__(self, rows: Rows, gpu: Gpu | None) -> None:
        if gpu is None or not gpu.has_cagra:
            raise UnavailableError("a CAGRA graph is built on a GPU with faiss-gpu-cuvs: FAISS has none here")
        config = faiss.gpu_symbol("GpuIndexCagraConfig")()
        config.graph_degree, config.intermediate_graph_degree = LINKS, 2 * LINKS
        config.build_algo = faiss.gpu_symbol("graph_build_algo_NN_DESCENT")
        index = faiss.gpu_symbol("GpuIndexCagra")(gpu.resources, rows.dim, faiss.METRIC_INNER_PRODUCT, config)
        rows_ND = np.ascontiguousarray(rows.rows_ND)  # which the device reads until the graph is copied
        self._graph = faiss.IndexHNSWCagra()
        self._graph.base_level_only = True
        try:
            index.train(rows_ND, numeric_type=faiss.Float16)
            index.copyTo(self._graph)
        except RuntimeError as error:
            raise UnavailableError(f"{gpu.name} could not build the graph: {error}") from error

    @property
    def built(self) -> int:
        return int(self._graph.ntotal)

    def save(self, path: Path) -> None:
        faiss.write_index(self._graph, path, faiss.IO_FLAG_SKIP_STORAGE)


def _ask_flat(index: Index, query_1D: Float32[ndarray, "1 d"], k: int, _effort: int) -> Int64[ndarray, "1 k"]:
    return index.search(query_1D, k)[1]


def _ask_ivf(index: Index, query_1D: Float32[ndarray, "1 d"], k: int, effort: int) -> Int64[ndarray, "1 k"]:
    return index.search(query_1D, k, params=faiss.SearchParametersIVF(nprobe=effort))[1]


def _ask_cagra(index: Index, query_1D: Float32[ndarray, "1 d"], k: int, effort: int) -> Int64[ndarray, "1 k"]:
    parameters = faiss.gpu_symbol("SearchParametersCagra")()
    parameters.itopk_size = max(effort, k)
    query_1D = query_1D.astype(np.float16)
    return index.search(query_1D, k, params=parameters, numeric_type=faiss.Float16)[1]
