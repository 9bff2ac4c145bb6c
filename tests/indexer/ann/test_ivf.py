"""How far an inverted file looks under a filter."""

from math import ceil
from pathlib import Path

import pytest
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.index import Calibration
from indexer.ann.ivf import Ivf
from indexer.collection.collection import Collection
from indexer.filters.language import parse_filter
from indexer.where import Matching
from tests.support.build import build as rebuild
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_under_a_filter_an_index_looks_as_far_as_the_best_of_all_would_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Of a share s of all pictures, the best k are among the best k / s of all. Allowed rows count."""
    collection = open_collection(tmp_path)
    every = round(1 / share)
    images = [new_image(n, inside=n % every == 0) for n in range(6000)]
    collection.add(images, unit_vectors(6000, DIM))
    rebuild(collection, "ivf_sq8")
    snapshot, where = collection.snapshot(), Matching(parse_filter({"match": {"inside": True}}))
    point = Calibration(collection.index_store.manifest(0).calibration).cheapest(0.9, 10 * every)
    assert point is not None
    asked, propose = [], Ivf.candidates

    def recorded(self: Ivf, query_D: ndarray, want: int, effort: int, allow: Bitmap | None) -> ndarray:
        asked.append((want, effort))
        return propose(self, query_D, want, effort, allow)

    monkeypatch.setattr(Ivf, "candidates", recorded)
    for query_D in unit_vectors(10, DIM, seed=3):
        asked.clear()
        assert snapshot.nearest(query_D, 10, where, recall=0.9).mode == "top_k"
        assert asked[0] == (max(320, ceil(point.want * share)), ceil(point.effort * share))
