"""A snapshot stays what it was."""

import os
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.attributes import Stored
from indexer.collection.collection import Collection
from indexer.types import ImageId
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


def fill(collection: Collection, count: int, seed: int = 0) -> tuple[list[ImageId], Float32[ndarray, "n d"]]:
    vectors_ND = unit_vectors(count, DIM, seed)
    images = [new_image(f"{seed}-{i}", taken_at=float(i), n=i, third=i % 3 == 0) for i in range(count)]
    return collection.add(images, vectors_ND), vectors_ND


def found(
    collection: Collection, query_D: Float32[ndarray, " d"], k: int, *, recall: float = 0.95
) -> list[ImageId]:
    snapshot = collection.snapshot()
    return [row.id for row in snapshot.rows(snapshot.nearest(query_D, k, recall=recall).ids_K)]


def test_equal_scores_come_in_the_order_of_their_slots(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    one_ND = np.repeat(unit_vectors(1, DIM), 40, axis=0)
    ids = collection.add([new_image(i) for i in range(40)], one_ND)
    assert found(collection, one_ND[0], 40) == ids


def test_a_snapshot_does_not_see_what_is_added_later(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 50)
    before = collection.snapshot()
    fill(collection, 10, seed=1)
    assert (before.images, before.slots) == (50, 50)
    assert len(before.nearest(unit_vectors(1, DIM)[0], 100).ids_K) == 50
    assert collection.snapshot().images == 60


@pytest.mark.parametrize(
    "rows_N",
    [np.arange(40, 2500), np.arange(40, 2500, 3), np.array([5, 9, 7]), np.array([5, 2, 8, 3, 9])],
    ids=["a run", "every third", "out of order", "out of order, and as long as its span"],
)
def test_project_scores_any_rows_in_their_order(tmp_path: Path, rows_N: np.ndarray) -> None:
    collection = open_collection(tmp_path)
    _, vectors_ND = fill(collection, 2500)  # more than one block
    direction_D = unit_vectors(1, DIM, seed=3)[0]
    expected = vectors_ND[rows_N].astype(np.float16).astype(np.float32) @ direction_D
    np.testing.assert_allclose(collection.snapshot().matrix.project(direction_D, rows_N), expected, atol=1e-6)


def test_column_gives_numbers_and_nan(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    images = [new_image("a", price=2.5), new_image("b", price="dear"), new_image("c")]
    ids = collection.add(images, unit_vectors(3, DIM))
    snapshot = collection.snapshot()
    np.testing.assert_array_equal(snapshot.values(Stored("price"), ids), [2.5, np.nan, np.nan])
    np.testing.assert_array_equal(snapshot.values(Stored("width"), ids), [640, 640, 640])


@pytest.mark.parametrize("looked_at", ["vectors-1.f16", "slots-1.i64"])
def test_a_reader_whose_files_vanish_finds_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: str
) -> None:
    writer = open_collection(tmp_path)
    ids, vectors_ND = fill(writer, 50)
    writer.delete(ids[:1])
    build(writer, None, reclaim=True)
    writer.delete(ids[1:2])
    reader, stat = open_collection(tmp_path), os.stat

    def too_late(path: str | Path, **options: bool) -> os.stat_result:
        """Space is reclaimed just before the reader looks at its file."""
        if str(path).endswith(looked_at):
            monkeypatch.undo()
            build(writer, None, reclaim=True)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", too_late)
    assert reader.snapshot().file_set == 2
    assert found(reader, vectors_ND[7], 1) == [ids[7]]
