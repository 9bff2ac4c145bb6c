"""Index builds that can be stopped, space that is reclaimed, and readers who notice neither."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from indexer.ann.build import BuildStopped, Watch, build
from indexer.ann.index import Family
from indexer.ann.rows import Rows
from indexer.collection.collection import Collection
from indexer.collection.compaction import compact, is_due
from indexer.collection.verify import verify
from indexer.disk.lock import WriterLock
from indexer.errors import BusyError
from indexer.filters.language import parse_filter
from indexer.types import ImageId
from indexer.where import Matching
from tests.support.build import AIMS
from tests.support.build import build as rebuild
from tests.support.pictures import new_image, unit_vectors
from tests.support.processes import program

DIM = 24


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


def fill(collection: Collection, count: int, seed: int = 0) -> list[ImageId]:
    images = [new_image(f"{seed}-{i}", n=i, parity=i % 2) for i in range(count)]
    return collection.add(images, unit_vectors(count, DIM, seed))


def best_uris(collection: Collection, seed: int = 5) -> list[str]:
    snapshot = collection.snapshot()
    found = snapshot.nearest(unit_vectors(1, DIM, seed)[0], 20, recall=1.0)
    return [row.uri for row in snapshot.rows(found.ids_K)]


def test_space_of_deleted_pictures_is_given_back_and_nothing_else_changes(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids = fill(collection, 4000)
    collection.delete([i for i in ids if i % 2])
    before, size = best_uris(collection), (tmp_path / "default" / "vectors.f16").stat().st_size
    old = collection.snapshot()

    report = rebuild(collection, "ivf_sq8", reclaim=True)
    assert (report.reclaimed, report.built) == (2000, 2000)
    assert best_uris(collection) == before
    files = sorted(path.name for path in (tmp_path / "default").glob("vectors*"))
    assert files == ["vectors-1.f16"]
    assert (tmp_path / "default" / "vectors-1.f16").stat().st_size == size // 2
    assert verify(tmp_path, full=True).problems == []
    # Who was reading goes on with the files that are open.
    found = old.nearest(unit_vectors(1, DIM, 5)[0], 20, recall=1.0)
    assert [row.uri for row in old.rows(found.ids_K)] == before


def test_a_collection_works_on_after_giving_space_back_twice(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    for round_ in range(3):
        ids = fill(collection, 300, seed=round_)
        collection.delete(ids[::3])
        rebuild(collection, None, reclaim=True)
        snapshot = collection.snapshot()
        assert (snapshot.images, snapshot.deleted) == (200 * (round_ + 1), 0)
    reopened = open_collection(tmp_path)
    assert best_uris(reopened) == best_uris(collection)
    chosen = Matching(parse_filter({"match": {"parity": 1}}))
    rows = reopened.snapshot().scroll(where=chosen, limit=1000)
    assert len(rows) == reopened.snapshot().count(chosen) > 0
    assert {row.metadata["parity"] for row in rows} == {1}
    assert verify(tmp_path, full=True).problems == []


def test_what_is_added_and_deleted_while_space_is_given_back_is_kept(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids = fill(collection, 500)
    collection.delete(ids[:100])

    def meddle(stage: str, _done: int, _of: int) -> None:
        if stage == "copy":
            fill(collection, 10, seed=8)
            collection.delete([ids[200]])

    compact(collection, AIMS, reclaim=True, watch=Watch(tell=meddle))
    snapshot = collection.snapshot()
    assert (snapshot.images, snapshot.deleted) == (500 - 100 - 1 + 10, 1)
    assert verify(tmp_path, full=True).problems == []


def stopping_at(stage: str) -> Watch:
    """Stops after the second step of `stage`."""
    seen: list[int] = []
    return Watch(lambda now, _done, _of: seen.extend([1] if now == stage else []), lambda: len(seen) >= 2)


@pytest.mark.parametrize("family", ["ivf_sq8", "ivf_rabitq"])
def test_a_stopped_build_goes_on_and_ends_as_if_it_had_not_been_stopped(
    tmp_path: Path, family: Family
) -> None:
    rows = Rows(unit_vectors(40_000, 16).astype(np.float16))
    whole = build(rows, family, tmp_path / "whole", Watch())
    whole.save(tmp_path / "whole.faiss")
    for stage in ("centroids", "rows"):
        with pytest.raises(BuildStopped):
            build(rows, family, tmp_path / "cut", stopping_at(stage))
    seen: list[tuple[str, int]] = []
    build(rows, family, tmp_path / "cut", Watch(lambda s, d, _o: seen.append((s, d)))).save(
        tmp_path / "cut.faiss"
    )
    assert "centroids" not in {stage for stage, _ in seen}  # those were kept
    assert (tmp_path / "cut.faiss").read_bytes() == (tmp_path / "whole.faiss").read_bytes()


@pytest.mark.slow
def test_what_a_stopped_reclaim_left_is_not_taken_for_other_pictures(tmp_path: Path) -> None:
    indexes: list[str] = []
    for stops in (False, True):
        collection = open_collection(tmp_path / str(stops))
        first, second, *_ = fill(collection, 4000)
        collection.delete([second])
        if stops:
            with pytest.raises(BuildStopped):
                compact(collection, AIMS, family="ivf_sq8", reclaim=True, watch=stopping_at("centroids"))
        collection.delete([first])
        fill(collection, 1, seed=9)  # as many as before, and each lies one row further on
        rebuild(collection, "ivf_sq8", reclaim=True)
        indexes.append(collection.index_store.manifest(collection.snapshot().file_set).sha256)
    assert indexes[0] == indexes[1]


def test_two_compactions_at_once_are_refused(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 10)
    with WriterLock(collection.folder / "build.lock").held(), pytest.raises(BusyError, match="process"):
        compact(open_collection(tmp_path), AIMS)


def test_a_compaction_gets_its_turn_while_another_process_backs_up_without_a_pause(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 10)
    with program("tests.support.backing_up", tmp_path, tmp_path.with_suffix(".backup")) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "backed-up\n"
            compact(collection, AIMS, reclaim=True)
        assert process.poll() is None


def test_a_compaction_that_waits_for_a_backup_can_be_stopped(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 10)
    with WriterLock(collection.folder / "compact.lock").held(), pytest.raises(BuildStopped):
        compact(collection, AIMS, watch=Watch(should_stop=lambda: True))


def test_building_gives_way_to_others(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    fill(collection, 2000)
    seen: set[int] = set()
    watch = Watch(tell=lambda *_: seen.add(os.getpriority(os.PRIO_PROCESS, 0)))
    compact(collection, AIMS, family="ivf_sq8", watch=watch)
    assert seen == {10}


def test_a_collection_is_due_when_it_has_outgrown_its_index(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids = fill(collection, 12_000)
    assert not is_due(collection, AIMS)  # scanned in a millisecond
    collection.delete([i for i in ids if i % 3 == 0])
    assert is_due(collection, AIMS)
    rebuild(collection, None, reclaim=True)
    assert not is_due(collection, AIMS)


def test_of_what_was_deleted_an_hour_ago_a_compaction_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = open_collection(tmp_path)
    ids = collection.add([new_image("secret"), new_image("other")], unit_vectors(2, DIM))
    collection.patch(ids[1], {"caption": "later"})
    collection.delete(ids[:1])

    def versions() -> int:
        with collection.database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM past_image").fetchone()[0])

    rebuild(collection, None, reclaim=True)
    assert versions() == 2  # a list may be being read
    monkeypatch.setattr("indexer.collection.compaction.PAST_S", 0.0)
    rebuild(collection, None, reclaim=True)  # there is nothing to reclaim any more
    assert versions() == 0
    collection.close()
    database = sqlite3.connect(tmp_path / "kallos.sqlite")
    assert "secret" not in str([*database.iterdump()])
    database.close()
    assert collection_bytes(tmp_path) == 1 * DIM * 2


def collection_bytes(data_dir: Path) -> int:
    return sum(path.stat().st_size for path in (data_dir / "default").glob("vectors*"))


def test_a_version_that_is_being_read_shows_what_is_left_after_a_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edited picture is then shown as it is now."""
    collection = open_collection(tmp_path)
    ids = collection.add([new_image(n) for n in range(3)], unit_vectors(3, DIM))
    version = collection.snapshot().version
    collection.patch(ids[1], {"caption": "later"})
    assert collection.snapshot(version).rows(ids)[1].metadata == {}
    monkeypatch.setattr("indexer.collection.compaction.PAST_S", 0.0)
    rebuild(collection, None, reclaim=False)
    assert [row.metadata for row in collection.snapshot(version).rows(ids)] == [{}, {"caption": "later"}, {}]
