"""What takes long to read is read beside: who searches meanwhile goes on with what there is."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.index import Family
from indexer.collection.collection import Collection
from indexer.filters.columns import Fields
from indexer.filters.language import parse_filter
from indexer.types import JSONValue
from rerank.axes.statistics import Moments, MomentsCache
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

DIM = 24
SOON_S = 30.0  # far more than it takes: who waits for a lock waits for ever


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


class Pipe:
    """A named pipe in the place of a file: who reads it waits for `answer`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.rename(path.with_name("as-it-was"))
        os.mkfifo(path)
        self._end = -1

    def wait_for_reader(self) -> None:
        self._end = os.open(self._path, os.O_WRONLY)  # returns when the reader has opened the other end

    def answer(self) -> None:
        """Put the file back, and let who reads the pipe have its content."""
        text = self._file.read_bytes()
        self._file.replace(self._path)
        os.write(self._end, text)
        os.close(self._end)


@pytest.mark.parametrize(("before", "meanwhile"), [("ivf_sq8", 3000), (None, 0)])
def test_searches_are_answered_while_a_new_index_is_read(
    tmp_path: Path, thread: ThreadPoolExecutor, before: Family | None, meanwhile: int
) -> None:
    collection, other = open_collection(tmp_path), open_collection(tmp_path)
    vectors_ND = unit_vectors(3500, DIM)
    other.add([new_image(n) for n in range(3000)], vectors_ND[:3000])
    build(other, before)
    assert collection.snapshot().covered_rows == meanwhile
    other.add([new_image(n) for n in range(3000, 3500)], vectors_ND[3000:])
    build(other, "hnsw")
    pipe = Pipe(tmp_path / "default" / "manifest.json")
    loading = thread.submit(collection.snapshot)
    pipe.wait_for_reader()
    try:
        snapshot = thread.submit(collection.snapshot).result(SOON_S)
        assert (snapshot.family, snapshot.covered_rows, len(snapshot.matrix)) == (before, meanwhile, 3500)
        assert snapshot.nearest(vectors_ND[3200], 1).ids_K.tolist() == [3201]
        assert not loading.done()
    finally:
        pipe.answer()
    assert (loading.result(SOON_S).family, loading.result().covered_rows) == ("hnsw", 3500)
    assert collection.snapshot() is loading.result()


def test_an_index_of_another_family_over_the_same_rows_is_taken(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    collection.add([new_image(n) for n in range(3000)], unit_vectors(3000, DIM))
    build(collection, "ivf_sq8")
    assert collection.snapshot().family == "ivf_sq8"
    build(collection, "hnsw")
    assert collection.snapshot().family == "hnsw"


def held_up(
    field: str, reading: Event, go_on: Event
) -> Callable[[str, int, int], list[tuple[int, JSONValue]]]:
    """Reads the values of fields; those of `field` when it may."""

    def read(asked: str, first: int, end: int) -> list[tuple[int, JSONValue]]:
        if asked == field:
            reading.set()
            assert go_on.wait(SOON_S)
        return [(slot, slot % 2) for slot in range(first, end)]

    return read


def test_a_field_that_is_being_read_holds_up_no_other(thread: ThreadPoolExecutor) -> None:
    reading, go_on = Event(), Event()
    fields = Fields(held_up("slow", reading, go_on))

    def ask(field: str) -> "Future[ndarray]":
        condition = parse_filter({"match": {field: 1}})
        return thread.submit(fields.mask, condition, 4, 4, lambda slot_E: slot_E)

    slow = ask("slow")
    assert reading.wait(SOON_S)
    try:
        assert ask("fast").result(SOON_S).tolist() == [False, True, False, True]
        assert not slow.done()
    finally:
        go_on.set()
    assert slow.result(SOON_S).tolist() == [False, True, False, True]


def test_moments_from_before_serve_while_new_ones_are_taken(
    tmp_path: Path, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, cache = open_collection(tmp_path), MomentsCache()
    collection.add([new_image(n) for n in range(100)], unit_vectors(100, DIM))
    before = cache.of(collection.snapshot())
    collection.add([new_image(n) for n in range(100, 200)], unit_vectors(100, DIM, seed=1))
    taking, go_on, take = Event(), Event(), Moments.of

    def slowly(vectors_ND: Float32[ndarray, "n d"]) -> Moments:
        taking.set()
        assert go_on.wait(SOON_S)
        return take(vectors_ND)

    monkeypatch.setattr(Moments, "of", slowly)
    taken = thread.submit(cache.of, collection.snapshot())
    assert taking.wait(SOON_S)
    try:
        assert thread.submit(cache.of, collection.snapshot()).result(SOON_S) is before
    finally:
        go_on.set()
    snapshot = collection.snapshot()
    assert np.array_equal(taken.result(SOON_S).mean_D, take(snapshot.sample(1000).vectors_ND).mean_D)
    assert cache.of(snapshot) is taken.result()
