"""Rows that come after a build are put into the lists of the index by their writer."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.build import Watch
from indexer.ann.index import Family
from indexer.collection.backup import backup, restore
from indexer.collection.collection import Collection
from indexer.collection.compaction import compact
from indexer.collection.verify import verify
from indexer.filters.language import parse_filter
from indexer.where import EVERYTHING, Matching
from tests.support.build import AIMS, build
from tests.support.pictures import new_image, unit_vectors

DIM = 24
SEGMENT_ROWS = 100
INVERTED: tuple[Family, ...] = ("ivf_sq8", "ivf_rabitq")


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0, segment_rows=SEGMENT_ROWS)


def fill(collection: Collection, count: int, seed: int) -> Float32[ndarray, "n d"]:
    vectors_ND = unit_vectors(count, DIM, seed)
    collection.add([new_image(f"{seed}-{i}", parity=i % 2) for i in range(count)], vectors_ND)
    return vectors_ND


def grown(folder: Path, family: Family, batches: int, batch: int = 60) -> Collection:
    """3000 pictures under an index, and then some more at a time."""
    collection = open_collection(folder)
    fill(collection, 3000, 0)
    build(collection, family)
    for seed in range(1, batches + 1):
        fill(collection, batch, seed)
    return collection


def segments(collection: Collection) -> list[str]:
    return [one.file.name for one in collection.index_store.manifest(0).segments]


def recall_at_10(collection: Collection, condition: object = None) -> float:
    """Against NumPy over the stored rows; the queries are pictures, old and new, with noise."""
    snapshot = collection.snapshot()
    where = EVERYTHING if condition is None else Matching(parse_filter(condition))
    ids_N, rng = np.array(snapshot.ids(where)), np.random.default_rng(5)
    known_ND = snapshot.vectors(ids_N)
    query_QD = known_ND[:: len(ids_N) // 60] + 0.05 * rng.standard_normal((1, DIM)).astype(np.float32)
    hits = 0
    for query_D in query_QD:
        truth_K = ids_N[np.argsort(-(known_ND @ query_D), kind="stable")[:10]]
        found = snapshot.nearest(query_D, 10, where, recall=0.95)
        assert found.mode == "top_k"
        hits += len(np.intersect1d(found.ids_K, truth_K))
    return hits / (10 * len(query_QD))


@pytest.mark.slow
@pytest.mark.parametrize("family", INVERTED)
def test_new_rows_are_searched_through_the_index_at_the_recall_asked_for(
    tmp_path: Path, family: Family
) -> None:
    collection = grown(tmp_path, family, batches=20)
    snapshot = collection.snapshot()
    assert len(snapshot.matrix) == 4200
    assert (snapshot.base_rows, snapshot.covered_rows) == (3000, 4200)  # every second batch fills a segment
    assert recall_at_10(collection) >= 0.95
    assert recall_at_10(collection, {"match": {"parity": 1}}) >= 0.95
    known = sorted(collection.known().items())
    collection.delete([picture.id for _, picture in known[::2]])
    assert recall_at_10(collection) >= 0.95
    assert verify(tmp_path, full=True).problems == []


def test_equal_neighbours_become_one_so_there_are_few_files(tmp_path: Path) -> None:
    collection = grown(tmp_path, "ivf_sq8", batches=26)  # 13 pieces: 8 + 4 + 1
    ends = [one.end for one in collection.index_store.manifest(0).segments]
    assert ends == [3000 + 8 * 120, 3000 + 12 * 120, 3000 + 13 * 120]
    assert sorted(path.name for path in (tmp_path / "default").glob("segment-*")) == sorted(
        segments(collection)
    )


def test_another_process_and_a_reader_at_work_both_see_what_they_should(tmp_path: Path) -> None:
    collection = grown(tmp_path, "ivf_sq8", batches=2)
    reader = open_collection(tmp_path)
    old = reader.snapshot()
    assert old.covered_rows == 3120
    new_ND = fill(collection, 240, seed=50)
    assert (old.covered_rows, len(old.matrix)) == (3120, 3120)
    query_D = new_ND[7]
    assert old.nearest(query_D, 1).scores_K[0] < 0.999
    assert reader.snapshot().covered_rows == 3360
    assert reader.snapshot().nearest(query_D, 1).scores_K[0] > 0.999
    # Its files are gone from the folder, and still open.
    assert old.nearest(unit_vectors(1, DIM, 1)[0], 5).mode == "top_k"


def test_edits_fill_segments_too(tmp_path: Path) -> None:
    collection = grown(tmp_path, "ivf_sq8", batches=0)
    ids = collection.snapshot().ids(Matching(parse_filter({"exists": "parity"})))[:SEGMENT_ROWS]
    assert collection.fill({image_id: {"seen": True} for image_id in ids}) == SEGMENT_ROWS
    assert collection.snapshot().covered_rows == 3000 + SEGMENT_ROWS


def test_what_comes_during_a_build_is_in_the_lists_when_it_comes_into_force(tmp_path: Path) -> None:
    collection = grown(tmp_path, "ivf_sq8", batches=2)
    seeds = iter(range(60, 65))

    def tell(stage: str, _done: int, _of: int) -> None:
        if stage == "centroids" and (seed := next(seeds, None)):
            fill(collection, 90, seed)

    assert compact(collection, AIMS, family="ivf_sq8", watch=Watch(tell=tell)).built == 3120
    snapshot = collection.snapshot()
    assert (snapshot.base_rows, snapshot.covered_rows, len(snapshot.matrix)) == (3120, 3570, 3570)
    assert recall_at_10(collection) >= 0.95
    assert verify(tmp_path, full=True).problems == []


@pytest.mark.slow
def test_what_comes_while_space_is_given_back_is_in_the_lists_soon_after(tmp_path: Path) -> None:
    collection = grown(tmp_path, "ivf_rabitq", batches=4)
    collection.delete(collection.snapshot().ids(Matching(parse_filter({"match": {"parity": 0}}))))
    came = iter([70])

    def tell(_stage: str, _done: int, _of: int) -> None:
        if seed := next(came, None):
            fill(collection, 130, seed)

    compact(collection, AIMS, family="ivf_rabitq", reclaim=True, watch=Watch(tell=tell))
    snapshot = collection.snapshot()
    assert (snapshot.base_rows, snapshot.covered_rows, len(snapshot.matrix)) == (1620, 1750, 1750)
    assert recall_at_10(collection) >= 0.95


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "swap"])
def test_a_damaged_segment_costs_only_its_rows_and_the_next_one_covers_them(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    collection = grown(tmp_path, "ivf_sq8", batches=6)  # pieces 2 + 1
    first, second = segments(collection)
    collection.close()
    path = tmp_path / "default" / second
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 0xFF
    path.write_bytes(data[:-9] if harm == "cut" else data)
    if harm == "remove":
        path.unlink()
    if harm == "swap":
        path.write_bytes((tmp_path / "default" / first).read_bytes())

    collection = open_collection(tmp_path)
    snapshot = collection.snapshot()
    assert (snapshot.covered_rows, len(snapshot.matrix)) == (3240, 3360)
    assert "all rows behind 3240" in caplog.text
    assert snapshot.nearest(unit_vectors(60, DIM, 6)[3], 1).scores_K[0] > 0.999
    assert [problem.code for problem in verify(tmp_path, full=False).problems] == ["index_damaged"]
    fill(collection, SEGMENT_ROWS, seed=80)
    assert collection.snapshot().covered_rows == 3460
    assert verify(tmp_path, full=True).problems == []


def test_an_index_of_a_newer_database_is_ignored(tmp_path: Path) -> None:
    """An old copy of the database was put in its place."""
    collection = grown(tmp_path, "ivf_sq8", batches=1)
    collection.database.copy_to(tmp_path / "old.sqlite")
    fill(collection, 200, seed=90)
    collection.close()
    (tmp_path / "kallos.sqlite-wal").unlink(missing_ok=True)
    (tmp_path / "old.sqlite").replace(tmp_path / "kallos.sqlite")

    collection = open_collection(tmp_path)
    snapshot = collection.snapshot()
    assert (snapshot.covered_rows, len(snapshot.matrix)) == (0, 3060)
    assert snapshot.nearest(unit_vectors(60, DIM, 1)[3], 1).scores_K[0] > 0.999
    assert [problem.code for problem in verify(tmp_path, full=False).problems] == ["index_foreign"]


def test_a_backup_has_the_segments_that_its_database_knows(tmp_path: Path) -> None:
    collection = grown(tmp_path / "data", "ivf_sq8", batches=6)
    files = segments(collection)
    seeds = iter([100])

    def tell(copied: str) -> None:
        if files[0] in copied:  # while it copies: both segments become one with what comes now
            for seed in seeds:
                fill(collection, 360, seed)

    backup(tmp_path / "data", tmp_path / "backup", tell=tell)
    assert verify(tmp_path / "backup", full=True).problems == []
    restore(tmp_path / "backup", tmp_path / "restored")
    restored = open_collection(tmp_path / "restored")
    assert (restored.snapshot().covered_rows, len(restored.snapshot().matrix)) == (3240, 3720)

    backup(tmp_path / "data", tmp_path / "backup")
    names = {path.name for path in (tmp_path / "backup" / "default").glob("segment-*")}
    assert names == set(segments(collection))
    assert verify(tmp_path / "backup", full=True).problems == []


def test_a_graph_is_not_extended(tmp_path: Path) -> None:
    collection = grown(tmp_path, "hnsw", batches=4)
    assert collection.snapshot().covered_rows == 3000
    assert segments(collection) == []
