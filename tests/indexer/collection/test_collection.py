"""Search equals NumPy on the stored rows, whatever happened to the collection before."""

from pathlib import Path

import pytest

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import InvalidInputError, ModelMismatchError
from indexer.filters.language import parse_filter
from indexer.where import Matching
from tests.support.build import build
from tests.support.numpy_search import DIM, fill, found, open_collection, oracle
from tests.support.pictures import new_image, unit_vectors


@pytest.mark.parametrize("query", [0, 17, 399])
def test_search_equals_numpy(tmp_path: Path, query: int) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 400)
    stored = dict(zip(ids, vectors_ND, strict=True))
    assert found(collection, vectors_ND[query], 25) == oracle(stored, vectors_ND[query], 25)


def test_search_equals_numpy_after_delete_update_rebuild_and_restart(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 600)
    stored = dict(zip(ids, vectors_ND, strict=True))
    query_D = vectors_ND[5]

    for image_id in collection.delete(ids[:200:2]):
        del stored[image_id]
    assert found(collection, query_D, 30) == oracle(stored, query_D, 30)

    moved_ND = unit_vectors(50, DIM, seed=9)
    again = collection.add([new_image(f"0-{i}") for i in range(300, 350)], moved_ND)
    assert again == ids[300:350]  # an update keeps the id
    stored.update(zip(again, moved_ND, strict=True))
    assert found(collection, query_D, 30) == oracle(stored, query_D, 30)

    assert build(collection, "ivf_sq8").built == 650
    assert found(collection, query_D, 30, recall=1.0) == oracle(stored, query_D, 30)
    collection.close()

    reopened = open_collection(tmp_path)
    assert reopened.snapshot().covered_rows == 650
    assert found(reopened, query_D, 30, recall=1.0) == oracle(stored, query_D, 30)
    assert verify(tmp_path, full=True).problems == []


def test_pictures_behind_the_index_are_found(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 3000)
    build(collection, "ivf_sq8")
    late_ND = unit_vectors(20, DIM, seed=77)
    late = collection.add([new_image(f"late-{i}") for i in range(20)], late_ND)
    snapshot = collection.snapshot()
    assert (snapshot.covered_rows, snapshot.slots) == (3000, 3020)
    for image_id, vector_D in zip(late, late_ND, strict=True):
        assert found(collection, vector_D, 1) == [image_id]


@pytest.mark.parametrize(
    ("below", "family"), [(3, None), (30, "ivf_sq8"), (300, "ivf_sq8"), (2500, "ivf_sq8")]
)
def test_filtered_search_equals_numpy_over_the_matches(
    tmp_path: Path, below: int, family: str | None
) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 3000)
    if family:
        build(collection, "ivf_sq8")
    stored = dict(zip(ids[:below], vectors_ND, strict=False))
    snapshot = collection.snapshot()
    where = Matching(parse_filter({"range": {"n": {"lt": below}}}))
    matches = snapshot.nearest(vectors_ND[1], 10, where=where, recall=0.99)
    have = [row.id for row in snapshot.rows(matches.ids_K)]
    if matches.mode == "exact":
        assert have == oracle(stored, vectors_ND[1], 10)
    else:
        assert set(have) <= set(stored)
        assert len(set(have) & set(oracle(stored, vectors_ND[1], 10))) >= 9


def test_another_process_sees_what_was_written(tmp_path: Path) -> None:
    writer, reader = open_collection(tmp_path), open_collection(tmp_path)
    assert reader.snapshot().images == 0
    ids, vectors_ND = fill(writer, 12)
    writer.delete(ids[:2])
    assert reader.snapshot().images == 10
    assert found(reader, vectors_ND[3], 1) == [ids[3]]


def test_a_collection_belongs_to_one_model(tmp_path: Path) -> None:
    open_collection(tmp_path).close()
    with pytest.raises(ModelMismatchError, match=r"test-1 .*other-2"):
        Collection.open(tmp_path, model_id="other-2", dim=DIM)


def test_wrong_lengths_are_refused(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    with pytest.raises(InvalidInputError, match=r"\(n, 24\)"):
        collection.add([new_image("a")], unit_vectors(1, DIM + 1))
    with pytest.raises(InvalidInputError, match="1 images came with 2 vectors"):
        collection.add([new_image("a")], unit_vectors(2, DIM))


def test_a_damaged_index_is_ignored_and_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 3000)
    build(collection, "ivf_sq8")
    collection.close()
    (index,) = (tmp_path / "default").glob("index-*.faiss")
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 0xFF
    index.write_bytes(data)

    collection = open_collection(tmp_path)
    assert collection.snapshot().covered_rows == 0
    assert "checksum" in caplog.text
    assert found(collection, vectors_ND[8], 1) == [ids[8]]
    assert [problem.code for problem in verify(tmp_path, full=False).problems] == ["index_damaged"]
    build(collection, "ivf_sq8")
    assert collection.snapshot().covered_rows == 3000
    assert verify(tmp_path, full=True).problems == []
