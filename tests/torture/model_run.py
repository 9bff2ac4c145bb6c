"""Random operations with restarts, each compared with a dict and NumPy."""

import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.filters.language import parse_filter
from indexer.types import ImageId
from indexer.where import EVERYTHING, Matching
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

DIM = 16
NAMES = 400  # few enough that updates and deletions meet what is there
REPORT = 10_000


@dataclass
class Known:
    """What the oracle knows of one picture."""

    id: ImageId
    vector_D: Float32[ndarray, " d"]
    size: int


class ModelRun:
    """One collection, one dict, and a seed that says what happens to both."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._model: dict[str, Known] = {}
        self._collection = self._open()
        self._steps = (
            (30, self._add),
            (12, self._delete),
            (8, self._patch),
            (30, self._search),
            (12, self._filter),
            (5, self._scroll),
            (0.4, self._rebuild),
            (0.4, self._restart),
        )

    def run(self, operations: int) -> None:
        weights = [weight for weight, _ in self._steps]
        actions = [action for _, action in self._steps]
        for number in range(operations):
            self._rng.choices(actions, weights)[0]()
            if number % REPORT == REPORT - 1:
                sys.stderr.write(f"{number + 1} operations, {len(self._model)} pictures\n")
        assert verify(self._folder, full=True).problems == []
        self._collection.close()

    def _open(self) -> Collection:
        return Collection.open(self._folder, model_id="model", dim=DIM)

    def _add(self) -> None:
        names = self._rng.sample(range(NAMES), self._rng.randint(1, 8))
        vectors_ND = unit_vectors(len(names), DIM, self._rng.randrange(2**31))
        sizes = [self._rng.randrange(10) for _ in names]
        images = [new_image(name, stars=size) for name, size in zip(names, sizes, strict=True)]
        ids = self._collection.add(images, vectors_ND)
        for image, image_id, vector_D, size in zip(images, ids, vectors_ND, sizes, strict=True):
            if image.uri in self._model:
                assert self._model[image.uri].id == image_id
            rounded_D = vector_D.astype(np.float16).astype(np.float32)
            self._model[image.uri] = Known(image_id, rounded_D, size)

    def _delete(self) -> None:
        uris = self._some(3)
        ids = sorted(self._model[uri].id for uri in uris)
        assert self._collection.delete([*ids, ImageId(10**12)]) == ids
        for uri in uris:
            del self._model[uri]

    def _patch(self) -> None:
        for uri in self._some(1):
            size = self._rng.randrange(10)
            row = self._collection.patch(self._model[uri].id, {"stars": size})
            assert (row.id, row.metadata["stars"]) == (self._model[uri].id, size)
            self._model[uri].size = size

    def _search(self) -> None:
        self._compare(self._model, None)

    def _filter(self) -> None:
        least = self._rng.randrange(10)
        chosen = {uri: known for uri, known in self._model.items() if known.size >= least}
        self._compare(chosen, {"range": {"stars": {"gte": least}}})

    def _compare(self, chosen: dict[str, Known], condition: object) -> None:
        snapshot = self._collection.snapshot()
        where = EVERYTHING if condition is None else Matching(parse_filter(condition))
        assert snapshot.count(where) == len(chosen)
        query_D = unit_vectors(1, DIM, self._rng.randrange(2**31))[0]
        found = snapshot.nearest(query_D, 10, where, recall=1.0)
        expected = sorted((float(known.vector_D @ query_D) for known in chosen.values()), reverse=True)[:10]
        np.testing.assert_allclose(found.scores_K, expected, atol=1e-5)
        for row, score in zip(snapshot.rows(found.ids_K), found.scores_K, strict=True):
            assert row.id == chosen[row.uri].id
            assert abs(float(chosen[row.uri].vector_D @ query_D) - score) < 1e-5

    def _scroll(self) -> None:
        rows = self._collection.snapshot().scroll(limit=NAMES + 1)
        assert {row.uri: row.id for row in rows} == {uri: known.id for uri, known in self._model.items()}

    def _rebuild(self) -> None:
        build(
            self._collection,
            self._rng.choice(["ivf_sq8", "ivf_rabitq", "hnsw", None]),
            reclaim=self._rng.random() < 0.5,
        )

    def _restart(self) -> None:
        self._collection.close()
        self._collection = self._open()

    def _some(self, most: int) -> list[str]:
        return self._rng.sample(sorted(self._model), min(most, len(self._model)))
