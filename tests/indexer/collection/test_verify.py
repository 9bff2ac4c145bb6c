"""What `kallos verify` finds."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.types import ImageId
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


def fill(collection: Collection, count: int, seed: int = 0) -> tuple[list[ImageId], Float32[ndarray, "n d"]]:
    vectors_ND = unit_vectors(count, DIM, seed)
    images = [new_image(f"{seed}-{i}", taken_at=float(i), n=i, third=i % 3 == 0) for i in range(count)]
    return collection.add(images, vectors_ND), vectors_ND


def test_verify_finds_a_flipped_vector(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 10)
    collection.close()
    path = tmp_path / "default" / "vectors.f16"
    rows = np.memmap(path, np.float16, "r+", shape=(10, DIM))
    rows[4] *= np.float16(1.5)
    rows.flush()
    assert verify(tmp_path, full=False).problems == []
    (problem,) = verify(tmp_path, full=True).problems
    assert (problem.code, "row 4" in problem.message) == ("vector_damaged", True)


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 300)
    collection.close()
    path = tmp_path / "kallos.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = b"\xaa" * (len(data) // 2 - 4096)
    path.write_bytes(data)
    for leftover in tmp_path.glob("kallos.sqlite-*"):
        leftover.unlink()
    assert "database_damaged" in {problem.code for problem in verify(tmp_path, full=True).problems}
