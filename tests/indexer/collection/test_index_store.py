"""An index is disposable: whatever is wrong with it, searches go on."""

import json
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.manifest import Manifest
from indexer.collection import index_store
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import CorruptStoreError
from indexer.types import ImageId
from tests.support.build import build
from tests.support.limits import nothing_opened
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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"index": "../x"}', '{"index": 3}'])
def test_a_damaged_manifest_never_stops_a_search(tmp_path: Path, text: str) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 3000)
    build(collection, "ivf_sq8")
    (tmp_path / "default" / "manifest.json").write_text(text)
    reopened = open_collection(tmp_path)
    assert found(reopened, vectors_ND[8], 1) == [ids[8]]
    assert [problem.code for problem in verify(tmp_path, full=False).problems] == ["index_damaged"]


def test_a_manifest_of_an_unknown_family_is_damaged_and_all_is_scanned(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 3000)
    build(collection, "ivf_sq8")
    path = tmp_path / "default" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"family": "ivf_sq9"}))
    with pytest.raises(CorruptStoreError, match="family 'ivf_sq9' is not known"):
        Manifest.read(path)
    reopened = open_collection(tmp_path)
    assert (reopened.snapshot().family, reopened.snapshot().covered_rows) == (None, 0)
    stored = dict(zip(ids, vectors_ND, strict=True))
    assert found(reopened, vectors_ND[8], 20) == oracle(stored, vectors_ND[8], 20)


def test_an_index_that_could_not_be_read_is_tried_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 3000)
    build(collection, "ivf_sq8")
    rows = collection.snapshot().matrix
    for wait_s, is_tried in ((60.0, False), (0.0, True)):
        monkeypatch.setattr(index_store, "RETRY_S", wait_s)
        store = index_store.IndexStore(collection.folder)
        with nothing_opened():
            store.load(rows, file_set=0)
            assert store.current(file_set=0)[0] is None
        store.load(rows, file_set=0)
        assert (store.current(file_set=0)[0] is not None) == is_tried
