"""Generated pictures as rows and files: what is kept, what may go, what a picture says of itself."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.blobs.originals import OriginalStore, upload_uri
from indexer.collection.backup import backup, restore
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import NotFoundError, StoreError
from indexer.imaging.provenance import PREVIEW_SIDE, to_preview
from indexer.tables.generated import Generation, GenerationStore
from tests.support.limits import nothing_written
from tests.support.pictures import new_image, unit_vectors


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    collection = Collection.open(tmp_path / "data", model_id="test-1", dim=8)
    yield collection
    collection.close()


def made_of(data: bytes, **changes: object) -> Generation:
    made = Generation(
        prompt="a fox",
        negative_prompt="",
        seed=2**63 - 1,
        model="m",
        adapter=None,
        params={"steps": 4, "guidance": 1.5},
        width=512,
        height=512,
        native_width=64,
        native_height=64,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        job="j1",
        part=0,
        seconds=1.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the caller's names


def test_what_is_stored_is_read_back_newest_first(collection: Collection) -> None:
    store = GenerationStore(collection.database, collection.name)
    first = store.add(made_of(b"1"))
    second = store.add(made_of(b"2", part=1))
    alone = store.add(made_of(b"3", job=None))
    assert store.list() == [alone, second, first]
    assert store.list(before=second.number, limit=1) == [first]
    assert store.of_job("j1") == [first, second]
    assert store.get(first.id) == first
    assert store.delete(second.id) == second
    with pytest.raises(NotFoundError, match=second.id):
        store.get(second.id)


def test_other_collections_do_not_see_it(collection: Collection, tmp_path: Path) -> None:
    made = GenerationStore(collection.database, collection.name).add(made_of(b"1"))
    other = Collection.open(tmp_path / "data", "other", model_id="test-1", dim=8)
    with pytest.raises(NotFoundError):
        GenerationStore(other.database, "other").get(made.id)
    other.close()


def test_a_file_is_needed_by_every_row_that_refers_to_it(collection: Collection, tmp_path: Path) -> None:
    store = GenerationStore(collection.database, collection.name)
    twice = [store.add(made_of(b"same")), store.add(made_of(b"same", part=1))]
    digest = twice[0].sha256
    elsewhere = Collection.open(tmp_path / "data", "other", model_id="test-1", dim=8)
    upload = replace(new_image("x"), uri=upload_uri(digest), sha256=digest)
    (image_id,) = elsewhere.add([upload], unit_vectors(2, 8)[:1])
    for made in twice:
        assert store.unneeded([digest, "0" * 64]) == {"0" * 64}
        store.delete(made.id)
    assert store.unneeded([digest]) == set()  # the upload of the other collection
    elsewhere.delete([image_id])
    assert store.unneeded([digest]) == {digest}
    elsewhere.close()


def test_a_deleted_image_is_no_longer_promoted(collection: Collection) -> None:
    store = GenerationStore(collection.database, collection.name)
    made = store.add(made_of(b"1"))
    (image_id,) = collection.add([new_image("x")], unit_vectors(2, 8)[:1])
    assert store.promoted(made.id, image_id).image_id == image_id
    collection.patch(image_id, {"stars": 3})
    assert store.get(made.id).image_id == image_id
    collection.delete([image_id])
    assert store.get(made.id).image_id is None


def test_backups_hold_the_files_and_verify_misses_them(collection: Collection, tmp_path: Path) -> None:
    data = tmp_path / "data"
    originals, store = OriginalStore(data), GenerationStore(collection.database, collection.name)
    made = store.add(made_of(b"picture"))
    originals.put(made.sha256, b"picture")
    backup(data, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert OriginalStore(tmp_path / "restored").get(made.sha256) == b"picture"
    assert verify(tmp_path / "restored", full=True).checked["generations"] == 1

    originals.path(made.sha256).write_bytes(b"picturE")
    assert [problem.code for problem in verify(data, full=False).problems] == []
    assert [problem.code for problem in verify(data, full=True).problems] == ["picture_damaged"]
    originals.drop(made.sha256)
    assert [problem.code for problem in verify(data, full=False).problems] == ["picture_missing"]


def test_a_preview_is_small() -> None:
    with Image.open(io.BytesIO(to_preview(np.zeros((300, 600, 3), np.uint8)))) as image:
        assert (image.format, image.size) == ("JPEG", (PREVIEW_SIDE, PREVIEW_SIDE // 2))


def test_a_file_that_cannot_be_written_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    originals, digest = OriginalStore(tmp_path), hashlib.sha256(b"1").hexdigest()
    with nothing_written(), pytest.raises(StoreError, match=rf"cannot write .*/{digest}: File too large"):
        originals.put(digest, b"1")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    originals.put(digest, b"1")
    assert originals.get(digest) == b"1"
