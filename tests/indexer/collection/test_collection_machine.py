"""Any sequence of adds, updates, deletes, rebuilds and restarts, against a dict and NumPy."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.types import ImageId
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

pytestmark = pytest.mark.slow
DIM = 8


class CollectionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.collection = self.open()
        self.model: dict[ImageId, tuple[str, Float32[ndarray, " d"]]] = {}
        self.seed = 0

    def open(self) -> Collection:
        return Collection.open(self.folder, model_id="m", dim=DIM)

    @rule(names=st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True))
    def add_or_update(self, names: list[int]) -> None:
        self.seed += 1
        vectors_ND = unit_vectors(len(names), DIM, self.seed)
        images = [new_image(name) for name in names]
        by_uri = {uri: image_id for image_id, (uri, _) in self.model.items()}
        ids = self.collection.add(images, vectors_ND)
        for image, image_id, vector_D in zip(images, ids, vectors_ND, strict=True):
            assert by_uri.get(image.uri, image_id) == image_id
            self.model[image_id] = (image.uri, vector_D)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.model)), max_size=4, unique=True))
        assert self.collection.delete([*chosen, ImageId(10**9)]) == sorted(chosen)
        for image_id in chosen:
            del self.model[image_id]

    @rule()
    def rebuild(self) -> None:
        build(self.collection, "ivf_sq8")

    @rule()
    def restart(self) -> None:
        self.collection.close()
        self.collection = self.open()

    @invariant()
    def search_equals_numpy(self) -> None:
        snapshot = self.collection.snapshot()
        assert snapshot.images == len(self.model)
        query_D = unit_vectors(1, DIM, seed=self.seed + 1000)[0]
        score = {
            i: float(v.astype(np.float16).astype(np.float32) @ query_D) for i, (_, v) in self.model.items()
        }
        matches = snapshot.nearest(query_D, 5, recall=1.0)
        rows = snapshot.rows(matches.ids_K)
        best = sorted(score.values(), reverse=True)[:5]
        np.testing.assert_allclose(matches.scores_K, best, atol=1e-6)
        np.testing.assert_allclose([score[row.id] for row in rows], best, atol=1e-6)
        assert all(self.model[row.id][0] == row.uri for row in rows)

    def teardown(self) -> None:
        assert verify(self.folder, full=True).problems == []
        self.collection.close()
        shutil.rmtree(self.folder)


TestCollectionMachine = CollectionMachine.TestCase
TestCollectionMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
