"""Rows of pictures: ids, replacements, patches."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import InvalidInputError, NotFoundError
from indexer.types import ImageId
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


def fill(collection: Collection, count: int, seed: int = 0) -> tuple[list[ImageId], Float32[ndarray, "n d"]]:
    vectors_ND = unit_vectors(count, DIM, seed)
    images = [new_image(f"{seed}-{i}", taken_at=float(i), n=i, third=i % 3 == 0) for i in range(count)]
    return collection.add(images, vectors_ND), vectors_ND


def test_deleted_ids_are_never_given_again(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids, _ = fill(collection, 5)
    collection.delete(ids)
    later, _ = fill(collection, 5, seed=1)
    assert min(later) > max(ids)
    with pytest.raises(NotFoundError, match=f"no image with id {ids[0]}"):
        collection.snapshot().rows([ids[0]])


def test_a_uri_that_stands_twice_in_one_call_is_stored_as_it_stands_last(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    vectors_ND = unit_vectors(3, DIM)
    first, other, second = collection.add([new_image("a"), new_image("b"), new_image("a")], vectors_ND)
    assert first == second != other
    snapshot = collection.snapshot()
    stored_D = snapshot.vectors([first])[0]
    np.testing.assert_array_equal(stored_D, vectors_ND[2].astype(np.float16).astype(np.float32))
    assert verify(tmp_path, full=True).problems == []


def test_a_patch_merges_and_null_removes(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    (image_id,) = collection.add([new_image("a", caption="sea", stars=3)], unit_vectors(1, DIM))
    row = collection.patch(image_id, {"stars": None, "tags": ["x"], "taken_at": "1970-01-02"})
    assert dict(row.metadata) == {"caption": "sea", "tags": ["x"]}
    assert row.taken_at == 86_400
    with pytest.raises(InvalidInputError, match="taken_at"):
        collection.patch(image_id, {"taken_at": "yesterday"})
