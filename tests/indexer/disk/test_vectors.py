"""What vectors are stored, and what is said when they are missing."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import CorruptStoreError, InvalidInputError
from indexer.types import ImageId
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


def fill(collection: Collection, count: int, seed: int = 0) -> tuple[list[ImageId], Float32[ndarray, "n d"]]:
    vectors_ND = unit_vectors(count, DIM, seed)
    images = [new_image(f"{seed}-{i}", taken_at=float(i), n=i, third=i % 3 == 0) for i in range(count)]
    return collection.add(images, vectors_ND), vectors_ND


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_a_vector_that_float16_cannot_hold_is_refused_and_nothing_is_stored(
    tmp_path: Path, value: float
) -> None:
    collection = open_collection(tmp_path)
    bad_ND = unit_vectors(2, DIM)
    bad_ND[1, 3] = value
    with pytest.raises(InvalidInputError, match="float16"):
        collection.add([new_image("a"), new_image("b")], bad_ND)
    assert collection.snapshot().images == 0
    fill(collection, 3)
    assert verify(tmp_path, full=True).problems == []


def test_missing_vectors_are_named_not_guessed(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 10)
    collection.close()
    path = tmp_path / "default" / "vectors.f16"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptStoreError, match="holds 9 rows, 10 are published"):
        open_collection(tmp_path).snapshot()
    assert [problem.code for problem in verify(tmp_path, full=False).problems] == ["vectors_missing"]
