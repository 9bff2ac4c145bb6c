"""Search equals NumPy on the stored rows, whatever happened to the collection before."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.index import FAMILIES, Family
from indexer.ann.manifest import Manifest
from indexer.attributes import Stored
from indexer.collection import index_store
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import CorruptStoreError, InvalidInputError, ModelMismatchError, NotFoundError
from indexer.filters.language import parse_filter
from indexer.types import ImageId
from indexer.where import Matching
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


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_an_index_reaches_the_recall_that_was_asked_for(tmp_path: Path, family: Family) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 4000)
    build(collection, family)
    stored = dict(zip(ids, vectors_ND, strict=True))
    snapshot = collection.snapshot()
    hits = 0
    for query in range(0, 4000, 80):
        matches = snapshot.nearest(vectors_ND[query], 10, recall=0.95)
        assert matches.mode == "top_k"
        have = {row.id for row in snapshot.rows(matches.ids_K)}
        hits += len(have & set(oracle(stored, vectors_ND[query], 10)))
    # 500 results at a true recall of 0.95 fall below 0.90 once in a million runs.
    assert hits / 500 >= 0.90


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


@pytest.mark.parametrize("family", FAMILIES)
def test_when_an_index_finds_too_few_all_are_scanned(tmp_path: Path, family: Family) -> None:
    """Of half of the collection, the half that is farthest: an index may show hardly any of them."""
    collection = open_collection(tmp_path)
    vectors_ND = unit_vectors(3000, DIM)
    query_D = unit_vectors(1, DIM, seed=41)[0]
    far_N = vectors_ND @ query_D < np.median(vectors_ND @ query_D)
    ids = collection.add([new_image(n, far=bool(far)) for n, far in enumerate(far_N)], vectors_ND)
    build(collection, family)
    snapshot = collection.snapshot()
    found = snapshot.nearest(query_D, 10, Matching(parse_filter({"match": {"far": True}})), recall=0.95)
    stored = {ids[n]: vectors_ND[n] for n in np.flatnonzero(far_N)}
    assert found.ids_K.tolist() == oracle(stored, query_D, 10)
    if family == "hnsw":  # whose walk stays near the query
        assert found.mode == "exact"


def test_equal_scores_come_in_the_order_of_their_slots(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    one_ND = np.repeat(unit_vectors(1, DIM), 40, axis=0)
    ids = collection.add([new_image(i) for i in range(40)], one_ND)
    assert found(collection, one_ND[0], 40) == ids


def test_a_snapshot_does_not_see_what_is_added_later(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 50)
    before = collection.snapshot()
    fill(collection, 10, seed=1)
    assert (before.images, before.slots) == (50, 50)
    assert len(before.nearest(unit_vectors(1, DIM)[0], 100).ids_K) == 50
    assert collection.snapshot().images == 60


def test_another_process_sees_what_was_written(tmp_path: Path) -> None:
    writer, reader = open_collection(tmp_path), open_collection(tmp_path)
    assert reader.snapshot().images == 0
    ids, vectors_ND = fill(writer, 12)
    writer.delete(ids[:2])
    assert reader.snapshot().images == 10
    assert found(reader, vectors_ND[3], 1) == [ids[3]]


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


@pytest.mark.parametrize(
    "rows_N",
    [np.arange(40, 2500), np.arange(40, 2500, 3), np.array([5, 9, 7]), np.array([5, 2, 8, 3, 9])],
    ids=["a run", "every third", "out of order", "out of order, and as long as its span"],
)
def test_project_scores_any_rows_in_their_order(tmp_path: Path, rows_N: np.ndarray) -> None:
    collection = open_collection(tmp_path)
    _, vectors_ND = fill(collection, 2500)  # more than one block
    direction_D = unit_vectors(1, DIM, seed=3)[0]
    expected = vectors_ND[rows_N].astype(np.float16).astype(np.float32) @ direction_D
    np.testing.assert_allclose(collection.snapshot().matrix.project(direction_D, rows_N), expected, atol=1e-6)


def test_a_patch_merges_and_null_removes(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    (image_id,) = collection.add([new_image("a", caption="sea", stars=3)], unit_vectors(1, DIM))
    row = collection.patch(image_id, {"stars": None, "tags": ["x"], "taken_at": "1970-01-02"})
    assert dict(row.metadata) == {"caption": "sea", "tags": ["x"]}
    assert row.taken_at == 86_400
    with pytest.raises(InvalidInputError, match="taken_at"):
        collection.patch(image_id, {"taken_at": "yesterday"})


def test_column_gives_numbers_and_nan(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    images = [new_image("a", price=2.5), new_image("b", price="dear"), new_image("c")]
    ids = collection.add(images, unit_vectors(3, DIM))
    snapshot = collection.snapshot()
    np.testing.assert_array_equal(snapshot.values(Stored("price"), ids), [2.5, np.nan, np.nan])
    np.testing.assert_array_equal(snapshot.values(Stored("width"), ids), [640, 640, 640])


def test_a_collection_belongs_to_one_model(tmp_path: Path) -> None:
    open_collection(tmp_path).close()
    with pytest.raises(ModelMismatchError, match=r"test-1 .*other-2"):
        Collection.open(tmp_path, model_id="other-2", dim=DIM)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_a_vector_that_float16_cannot_hold_is_refused_and_nothing_is_stored(
    tmp_path: Path, value: float
) -> None:
    collection = open_collection(tmp_path)
    bad_ND = unit_vectors(2, DIM)
    bad_ND[1, 3] = value
    with pytest.raises(InvalidInputError, match="float16"):
        collection.add([new_image("a"), new_image("b")], bad_ND)
    assert collection.snapshot().images == 0
    fill(collection, 3)
    assert verify(tmp_path, full=True).problems == []


def test_wrong_lengths_are_refused(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    with pytest.raises(InvalidInputError, match=r"\(n, 24\)"):
        collection.add([new_image("a")], unit_vectors(1, DIM + 1))
    with pytest.raises(InvalidInputError, match="1 images came with 2 vectors"):
        collection.add([new_image("a")], unit_vectors(2, DIM))


def test_a_damaged_index_is_left_aside_and_built_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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


@pytest.mark.parametrize("looked_at", ["vectors-1.f16", "slots-1.i64"])
def test_a_reader_whose_files_vanish_finds_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: str
) -> None:
    writer = open_collection(tmp_path)
    ids, vectors_ND = fill(writer, 50)
    writer.delete(ids[:1])
    build(writer, None, reclaim=True)
    writer.delete(ids[1:2])
    reader, stat = open_collection(tmp_path), os.stat

    def too_late(path: str | Path, **options: bool) -> os.stat_result:
        """Space is given back just before the reader looks at its file."""
        if str(path).endswith(looked_at):
            monkeypatch.undo()
            build(writer, None, reclaim=True)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", too_late)
    assert reader.snapshot().file_set == 2
    assert found(reader, vectors_ND[7], 1) == [ids[7]]


def test_missing_vectors_are_named_not_guessed(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 10)
    collection.close()
    path = tmp_path / "default" / "vectors.f16"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptStoreError, match="holds 9 rows, 10 are published"):
        open_collection(tmp_path).snapshot()
    assert [problem.code for problem in verify(tmp_path, full=False).problems] == ["vectors_missing"]


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
