"""A collection whose index is always searched, and NumPy's answer to the same question."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.types import ImageId
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


def fill(collection: Collection, count: int, seed: int = 0) -> tuple[list[ImageId], Float32[ndarray, "n d"]]:
    vectors_ND = unit_vectors(count, DIM, seed)
    images = [new_image(f"{seed}-{i}", taken_at=float(i), n=i, third=i % 3 == 0) for i in range(count)]
    return collection.add(images, vectors_ND), vectors_ND


def oracle(
    stored: dict[ImageId, Float32[ndarray, " d"]], query_D: Float32[ndarray, " d"], k: int
) -> list[ImageId]:
    """Ids by falling inner product with the vectors as float16 keeps them; ties by rising id."""
    score = {i: float(v.astype(np.float16).astype(np.float32) @ query_D) for i, v in stored.items()}
    return sorted(score, key=lambda i: (-score[i], i))[:k]


def found(
    collection: Collection, query_D: Float32[ndarray, " d"], k: int, *, recall: float = 0.95
) -> list[ImageId]:
    snapshot = collection.snapshot()
    return [row.id for row in snapshot.rows(snapshot.nearest(query_D, k, recall=recall).ids_K)]
