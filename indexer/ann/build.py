"""Rows → an index, in bounded memory, in steps that can be watched, stopped and taken up again.

    sample ──► centroids (k-means, one iteration a step) ──► lists of rows (a chunk a step) ──► codes

Centroids and the list of every row are kept in a work folder: whoever stops a build loses one step.
Everything is deterministic: the same rows give the same index, also after a stop.

Dimension key   N rows, D embedding, L lists
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann import faiss_interface as faiss
from indexer.ann.calibrate import calibration_rows
from indexer.ann.flat import Flat
from indexer.ann.gpu import CagraBuild, Gpu
from indexer.ann.hnsw import BUILD_QUEUE, LINKS, Hnsw
from indexer.ann.index import Built, Family
from indexer.ann.ivf import Ivf
from indexer.ann.rows import Rows
from indexer.ann.segment import CHUNK, CODES, add
from indexer.disk.files import writing

TRAIN_PER_LIST = 48  # rows; k-means gains under 1 % of recall from more
MOST_TRAIN_BYTES = 1 << 30
ITERATIONS = 10
SEED = 1234
BACKGROUND_NICENESS = 10

Tell = Callable[[str, int, int], None]
"""(stage, done, of): "centroids", "rows" or "calibration"."""


class BuildStopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """What was finished is kept, and the next build goes on from there."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Whoever waits for a build. Both are called after every step, from the building thread."""

    tell: Tell = lambda _stage, _done, _of: None
    should_stop: Callable[[], bool] = lambda: False

    def step(self, stage: str, done: int, of: int) -> None:
        self.tell(stage, done, of)
        if self.should_stop():
            raise BuildStopped


def build(rows: Rows, family: Family, work: Path, watch: Watch, gpu: Gpu | None = None) -> Built:
    """An index of `family` over all of `rows`.

    `rows` holds at least one. `work` is a folder for finished steps, made when missing; it belongs to these
    rows alone.

    Raises:
        BuildStopped: `watch` asked for it.
        UnavailableError: The family is built on a GPU, and there is none that can.
    """
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    match family:
        case "flat":
            return Flat(rows)
        case "cagra":
            return CagraBuild(rows, gpu)
        case "hnsw":
            return _hnsw(rows, watch)
        case _:
            return _ivf(rows, family, work, watch)


def lists_for(count: int) -> int:
    """4 √N lists: a query then reads about as many centroids as rows. At least 39 rows each."""
    return int(np.clip(4 * np.sqrt(count), 1, max(1, count // 39)))


def _ivf(rows: Rows, family: Family, work: Path, watch: Watch) -> Ivf:
    centroids_LD = _centroids(rows, work / "centroids.npz", watch)
    quantizer = faiss.IndexFlatIP(rows.dim)
    quantizer.add(centroids_LD)
    index = faiss.index_factory(
        rows.dim, f"IVF{len(centroids_LD)},{CODES[family]}", faiss.METRIC_INNER_PRODUCT
    )
    index.quantizer.reset()
    index.quantizer.add(centroids_LD)
    index.train(_sample(rows, len(centroids_LD)))  # the codes; the centroids are there
    assigned = work / "lists.i32"
    for start, list_B in _assignments(rows, quantizer, assigned):
        block_BD = rows.rows_ND[start : start + len(list_B)].astype(np.float32)
        add(index, block_BD, start, list_B)
        watch.step("rows", start + len(list_B), len(rows))
    return Ivf(index)


def _centroids(rows: Rows, kept: Path, watch: Watch) -> Float32[ndarray, "l d"]:
    """Spherical k-means, one iteration at a time; `kept` holds the last one."""
    lists = lists_for(len(rows))
    done, centroids_LD = _load_centroids(kept, lists, rows.dim)
    sample_ND = _sample(rows, lists) if done < ITERATIONS else None
    while sample_ND is not None and done < ITERATIONS:
        step = faiss.Clustering(rows.dim, lists)
        step.spherical, step.niter, step.seed = True, 1, SEED + done
        step.min_points_per_centroid = 1
        if centroids_LD is not None:
            faiss.copy_array_to_vector(centroids_LD.reshape(-1), step.centroids)
        step.train(sample_ND, faiss.IndexFlatIP(rows.dim))
        centroids_LD = faiss.vector_to_array(step.centroids).reshape(lists, rows.dim)
        done += 1
        beside = kept.with_suffix(".part")
        with writing(kept, beside=beside):
            with beside.open("wb") as file:
                np.savez(file, done=done, centroids=centroids_LD)
            beside.replace(kept)
        watch.step("centroids", done, ITERATIONS)
    assert centroids_LD is not None
    return centroids_LD


def _load_centroids(kept: Path, lists: int, dim: int) -> "tuple[int, Float32[ndarray, 'l d'] | None]":
    try:
        with np.load(kept, allow_pickle=False) as stored:
            centroids_LD = stored["centroids"].astype(np.float32)
            if centroids_LD.shape == (lists, dim) and np.isfinite(centroids_LD).all():
                return int(stored["done"]), centroids_LD
    except (OSError, ValueError, KeyError, EOFError):
        pass  # nothing kept, or a leftover that cannot be read: begin anew
    return 0, None


def _sample(rows: Rows, lists: int) -> Float32[ndarray, "n d"]:
    """Rows evenly spread over the collection, without those that calibration asks about."""
    most = min(TRAIN_PER_LIST * lists, MOST_TRAIN_BYTES // (4 * rows.dim))
    chosen_N = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    if len(rows) > 10 * len(calibration_rows(len(rows))):
        chosen_N = np.setdiff1d(chosen_N, calibration_rows(len(rows)), assume_unique=True)
    return rows.take(chosen_N)


def _assignments(rows: Rows, quantizer: Any, kept: Path) -> "Iterator[tuple[int, ndarray]]":  # noqa: ANN401
    """(first row, list of each row) by chunks; chunks that `kept` has are not computed again."""
    known = kept.stat().st_size // 4 // CHUNK if kept.exists() else 0
    with writing(kept), kept.open("r+b" if kept.exists() else "w+b") as file:
        for number, start in enumerate(range(0, len(rows), CHUNK)):
            if number < known:
                file.seek(4 * start)
                list_B = np.frombuffer(file.read(4 * CHUNK), np.int32)
            else:
                block_BD = rows.rows_ND[start : start + CHUNK].astype(np.float32)
                list_B = quantizer.search(block_BD, 1)[1][:, 0].astype(np.int32)
                file.seek(4 * start)
                file.write(list_B.tobytes())
                file.flush()
                os.fsync(file.fileno())  # half a chunk after a power cut would be wrong lists, silently
            yield start, list_B.astype(np.int64)


def _hnsw(rows: Rows, watch: Watch) -> Hnsw:
    """One step a chunk; a stopped build begins anew, as FAISS cannot take up half a graph."""
    index = faiss.IndexHNSWSQ(rows.dim, faiss.ScalarQuantizer.QT_fp16, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_QUEUE
    index.train(rows.take(np.arange(min(256, len(rows)))))
    for start in range(0, len(rows), CHUNK):
        index.add(rows.rows_ND[start : start + CHUNK].astype(np.float32))
        watch.step("rows", min(start + CHUNK, len(rows)), len(rows))
    return Hnsw(index, rows)


@contextmanager
def in_background(threads: int) -> Iterator[None]:
    """The calling thread, and the FAISS threads it starts, give way to whoever answers a person."""
    before = faiss.omp_get_max_threads()
    me = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, me)
    faiss.omp_set_num_threads(threads)
    os.setpriority(os.PRIO_PROCESS, me, max(niceness, BACKGROUND_NICENESS))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
        # Only root may take a favour back; the thread that builds ends soon after the build.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, me, niceness)
