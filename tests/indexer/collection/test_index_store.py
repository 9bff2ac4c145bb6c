"""An index is disposable: whatever is wrong with it, searches go on."""

import json
from pathlib import Path

import pytest

from indexer.ann.manifest import Manifest
from indexer.collection import index_store
from indexer.collection.verify import verify
from indexer.errors import CorruptStoreError
from tests.support.build import build
from tests.support.limits import nothing_opened
from tests.support.numpy_search import fill, found, open_collection, oracle


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
