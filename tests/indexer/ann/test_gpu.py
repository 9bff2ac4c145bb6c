"""Clones on a device. The code is the same wherever a clone lies: here it lies in this machine's memory.

What truly needs a GPU is marked so.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.gpu import Gpu, load_cagra
from indexer.ann.index import Family
from indexer.ann.plan import plan
from indexer.ann.rows import Rows
from indexer.collection.collection import Collection
from indexer.errors import UnavailableError
from indexer.filters.language import parse_filter
from indexer.where import EVERYTHING, Matching, Where
from tests.support.build import build
from tests.support.device import Device, gpu_over
from tests.support.pictures import new_image, unit_vectors

DIM = 32
COUNT = 3000
K = 10


class FailingIndex:
    """What FAISS does when a device has no memory left for a search."""

    def search(self, *_: object, **__: object) -> None:
        raise RuntimeError("StandardGpuResources: alloc fail")


class Handle:
    """An index on a device that is never searched."""


def open_collection(folder: Path, gpu: Gpu | None) -> Collection:
    return Collection.open(folder, model_id="test", dim=DIM, exact_rows=100, gpu=gpu)


def filled(folder: Path, gpu: Gpu | None) -> "tuple[Collection, Float32[ndarray, 'n d']]":
    collection = open_collection(folder, gpu)
    vectors_ND = unit_vectors(COUNT, DIM)
    collection.add([new_image(i, tenth=i % 10) for i in range(COUNT)], vectors_ND)
    return collection, vectors_ND


def recall(
    collection: Collection,
    query_QD: Float32[ndarray, "q d"],
    where: Where = EVERYTHING,
    modes: Sequence[str] = ("top_k",),
) -> float:
    """Against the exact scan, of searches that must have been answered in one of `modes`."""
    snapshot = collection.snapshot()
    hits = 0
    for query_D in query_QD:
        found = snapshot.nearest(query_D, K, where=where, recall=0.95)
        truth = snapshot.nearest(query_D, K, where=where, recall=1.0)
        assert found.mode in modes
        assert set(found.ids_K.tolist()) <= set(snapshot.ids(where))
        hits += len(np.intersect1d(found.ids_K, truth.ids_K))
    return hits / (K * len(query_QD))


@pytest.mark.parametrize("family", ["flat", "ivf_sq8"])
def test_a_clone_answers_as_the_collection_does_after_deletes_and_additions(
    tmp_path: Path, family: Family
) -> None:
    device = Device()
    collection, vectors_ND = filled(tmp_path, gpu_over(device))
    build(collection, family)
    assert collection.snapshot().device == "gpu:0"
    assert device.clones
    ids = [row.id for row in collection.snapshot().scroll(limit=COUNT)]
    collection.delete(ids[::5])
    collection.add([new_image(COUNT + i, tenth=0) for i in range(100)], unit_vectors(100, DIM, seed=5))
    query_QD = vectors_ND[::300] + 0.3 * unit_vectors(COUNT // 300, DIM, seed=6)
    assert recall(collection, query_QD) >= 0.95
    assert collection.index_store.gpu is not None
    assert collection.index_store.gpu.failures == 0


@pytest.mark.parametrize("family", ["flat", "ivf_sq8"])
@pytest.mark.parametrize(
    ("condition", "share"), [({"range": {"tenth": {"lt": 9}}}, 0.9), ({"match": {"tenth": 3}}, 0.1)]
)
def test_a_filter_keeps_its_recall_whether_the_device_or_the_cpu_serves_it(
    tmp_path: Path, family: Family, condition: dict[str, Any], share: float
) -> None:
    collection, vectors_ND = filled(tmp_path, gpu_over(Device()))
    build(collection, family)
    snapshot = collection.snapshot()
    where = Matching(parse_filter(condition))
    assert snapshot.count(where) == round(share * COUNT)
    assert recall(collection, vectors_ND[::300], where) >= 0.95


@pytest.mark.parametrize("family", ["flat", "ivf_sq8"])
def test_a_device_without_room_is_reported_and_the_cpu_searches(
    tmp_path: Path, family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(room=False)
    collection, vectors_ND = filled(tmp_path, gpu_over(device))
    with caplog.at_level(logging.WARNING, "kallos.index"):
        build(collection, family)
        snapshot = collection.snapshot()
    assert snapshot.device.startswith("cpu: gpu:0 could not take the index")
    assert "out of memory" in snapshot.device
    assert "\n" not in snapshot.device
    assert "stays on the CPU" in caplog.text
    assert recall(collection, vectors_ND[::300]) >= 0.95


def test_a_search_that_the_device_fails_at_is_counted_and_answered_by_the_cpu(tmp_path: Path) -> None:
    failing = Gpu("gpu:0", lambda _index: FailingIndex())
    collection, vectors_ND = filled(tmp_path, None)
    build(collection, "flat")
    collection.close()
    collection = open_collection(tmp_path, failing)
    assert collection.snapshot().device == "gpu:0"
    assert recall(collection, vectors_ND[::600]) == 1.0
    assert failing.failures >= len(vectors_ND[::600])


def test_an_index_made_for_a_gpu_is_searched_without_one_and_says_so(tmp_path: Path) -> None:
    collection, vectors_ND = filled(tmp_path, gpu_over(Device()))
    build(collection, "flat")
    collection.close()
    collection = open_collection(tmp_path, None)
    assert collection.snapshot().device == "cpu: FAISS sees no GPU"
    assert recall(collection, vectors_ND[::600]) == 1.0


def test_a_cagra_graph_is_not_built_without_a_gpu(tmp_path: Path) -> None:
    collection, _ = filled(tmp_path, None)
    with pytest.raises(UnavailableError, match="faiss-gpu-cuvs"):
        build(collection, "cagra")
    assert collection.snapshot().family is None


def test_a_cagra_graph_on_disk_is_put_over_the_rows_of_the_collection(tmp_path: Path) -> None:
    rows = Rows(unit_vectors(400, DIM).astype(np.float16))
    graph = faiss.IndexHNSWCagra(DIM, 8, faiss.METRIC_INNER_PRODUCT, faiss.Float16)
    graph.train(rows.rows_ND.astype(np.float32))
    graph.add(rows.rows_ND[:300].astype(np.float32))
    graph.base_level_only = True
    path = tmp_path / "index-1.faiss"
    faiss.write_index(graph, str(path), faiss.IO_FLAG_SKIP_STORAGE)
    got: list[Any] = []

    def clone(index: Any) -> Any:  # noqa: ANN401
        got.append(index)
        return Handle()

    placed = load_cagra(path, rows, Gpu("gpu:0", clone, has_cagra=True))
    assert (placed.where, placed.generator.built) == ("gpu:0", 300)
    assert np.array_equal(got[0].reconstruct(299), rows.rows_ND[299].astype(np.float32))
    assert len(placed.generator.candidates(rows.take(np.array([3]))[0], 10, 2000, None)) == 0
    with pytest.raises(UnavailableError, match="faiss-gpu-cuvs"):
        load_cagra(path, rows, gpu_over(Device()))


@pytest.mark.parametrize(
    ("count", "memory", "cagra", "family"),
    [
        (20_000, 8e9, True, None),
        (2_000_000, 8e9, False, "flat"),
        (4_000_000, 16e9, True, "cagra"),
        (4_000_000, 16e9, False, "ivf_sq8"),
        (40_000_000, 8e9, True, "ivf_rabitq"),
    ],
)
def test_the_plan_for_a_gpu_takes_the_first_that_is_fast_and_fits(
    count: int, memory: float, cagra: bool, family: str | None
) -> None:
    made = plan(count, 512, memory_bytes=int(memory), latency_ms=10, gpu=True, cagra=cagra)
    assert made.family == family
    assert not {"flat", "cagra"} & {o.name for o in plan(count, 512, memory_bytes=1, latency_ms=1).options}


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["flat", "ivf_sq8", "cagra"])
def test_a_real_device_answers_as_the_cpu_does(tmp_path: Path, family: Family) -> None:
    gpu = Gpu.find()
    assert gpu is not None, "FAISS sees no GPU"
    if family == "cagra":
        assert gpu.has_cagra, "faiss-gpu-cuvs is not installed"
    collection, vectors_ND = filled(tmp_path, gpu)
    build(collection, family)
    assert collection.snapshot().device == gpu.name
    assert recall(collection, vectors_ND[::300]) >= 0.95
    assert gpu.failures == 0
