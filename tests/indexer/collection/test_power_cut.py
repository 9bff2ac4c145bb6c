"""A power cut loses nothing: fsync before COMMIT, a file before its name, and its folder before who names it.

The order of the calls is recorded, since no kill of a process can show what only the page cache holds.
"""

from pathlib import Path

import pytest

from indexer.ann.index import FAMILIES, Family
from indexer.blobs.deployed import DeployedStore
from indexer.blobs.originals import OriginalStore
from indexer.collection.backup import backup
from indexer.collection.collection import Collection
from indexer.disk.files import replace_text
from indexer.tables.database import Database
from tests.support.build import build
from tests.support.order import recorded
from tests.support.pictures import new_image, unit_vectors

DIM = 24
ROWS = ("default/vectors*.f16", "default/slots*.i64", "default/ids.i64")


def open_collection(folder: Path, segment_rows: int = 4096) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0, segment_rows=segment_rows)


def test_rows_are_on_disk_before_the_transaction_that_publishes_them(tmp_path: Path) -> None:
    with recorded(tmp_path, *ROWS) as order:
        collection = open_collection(tmp_path)
        order.events.clear()
        ids = collection.add([new_image(1), new_image(2)], unit_vectors(2, DIM))
        assert order.events == [
            ("fsync", "default/vectors.f16"),
            ("fsync", "default"),  # where the file is new
            ("fsync", "default/ids.i64"),
            ("fsync", "default"),
            ("commit", ""),
        ]
        order.events.clear()
        collection.patch(ids[0], {"stars": 3})
        assert [name for _, name in order.events] == ["default/vectors.f16", "default/ids.i64", ""]
        collection.add([new_image(3)], unit_vectors(2, DIM)[:1])
        collection.delete(ids[:1])
    assert order.faults == []
    collection.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_index_is_on_disk_under_its_name_before_the_manifest_names_it(
    tmp_path: Path, family: Family
) -> None:
    with recorded(tmp_path, *ROWS) as order:
        collection = open_collection(tmp_path)
        collection.add([new_image(n) for n in range(500)], unit_vectors(500, DIM))
        order.events.clear()
        build(collection, family)
        (index,) = [path.name for path in (tmp_path / "default").glob("index-*")]
        steps = [event for event in order.events if "build-" not in event[1] and event[0] != "commit"]
    named, listed = ("rename", f"default/{index}"), ("rename", "default/manifest.json")
    assert steps.index(named) < steps.index(("fsync", "default"), steps.index(named)) < steps.index(listed)
    assert steps[-1] == ("fsync", "default")
    assert [fault for fault in order.faults if "build-" not in fault] == []
    collection.close()


def test_a_segment_is_on_disk_before_the_manifest_names_it(tmp_path: Path) -> None:
    with recorded(tmp_path, *ROWS) as order:
        collection = open_collection(tmp_path, segment_rows=100)
        collection.add([new_image(n) for n in range(500)], unit_vectors(500, DIM))
        build(collection, "ivf_sq8")
        order.events.clear()
        collection.add([new_image(n) for n in range(500, 700)], unit_vectors(200, DIM, seed=1))
    kinds = [(kind, name.split("-")[0]) for kind, name in order.events]
    assert kinds == [
        ("fsync", "default/vectors.f16"),
        ("fsync", "default/ids.i64"),
        ("commit", ""),
        ("fsync", "default/segment"),
        ("rename", "default/segment"),
        ("fsync", "default"),
        ("fsync", "default/manifest.json.part"),
        ("rename", "default/manifest.json"),
        ("fsync", "default"),
    ]
    assert [fault for fault in order.faults if "build-" not in fault] == []
    collection.close()


@pytest.mark.parametrize("family", [None, "ivf_sq8"])
def test_live_rows_are_on_disk_before_they_take_over(tmp_path: Path, family: Family | None) -> None:
    with recorded(tmp_path, *ROWS) as order:
        collection = open_collection(tmp_path)
        ids = collection.add([new_image(n) for n in range(500)], unit_vectors(500, DIM))
        collection.delete(ids[:200])
        build(collection, family, reclaim=True)
        assert collection.state().file_set == 1
    assert [fault for fault in order.faults if "build-" not in fault] == []
    collection.close()


def test_an_original_is_on_disk_before_anything_refers_to_it(tmp_path: Path) -> None:
    with recorded(tmp_path) as order:
        OriginalStore(tmp_path).put("ab" * 32, b"a picture")
    assert [kind for kind, _ in order.events] == ["fsync", "rename", "fsync"]
    assert order.faults == []


def test_a_generator_is_on_disk_before_it_is_in_force(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights").write_bytes(b"1234")

    with recorded(tmp_path) as order:
        store = DeployedStore(tmp_path)
        with store.held():
            store.put("abc", fill, {})
            store.use("abc")
    names = [name for kind, name in order.events if kind == "fsync"]
    first = order.events.index(("rename", "generators/abc"))
    assert {"generators/abc.part", "generators/abc.part/unet", "generators/abc.part/unet/weights"} <= {
        name for _, name in order.events[:first]
    }
    assert order.events[first + 1] == ("fsync", "generators")
    assert order.events[-2:] == [("rename", "generators/current.json"), ("fsync", "generators")]
    assert "generators/abc.part/manifest.json" in names
    assert order.faults == []


def test_a_backup_is_on_disk_before_its_database_is_in_force(tmp_path: Path) -> None:
    collection = open_collection(tmp_path / "data")
    collection.add([new_image(n) for n in range(500)], unit_vectors(500, DIM))
    build(collection, "ivf_sq8")
    with recorded(tmp_path / "backup") as order:
        backup(tmp_path / "data", tmp_path / "backup")
    at = order.events.index(("rename", "kallos.sqlite"))
    assert ("fsync", "default/vectors.f16") in order.events[:at]
    assert order.events.index(("rename", "default/manifest.json")) > at
    assert order.faults == []
    collection.close()


def test_a_text_is_on_disk_before_it_replaces_another(tmp_path: Path) -> None:
    with recorded(tmp_path) as order:
        replace_text(tmp_path / "text", "1")
    assert order.events == [("fsync", "text.part"), ("rename", "text"), ("fsync", ".")]
    assert order.faults == []


def test_the_database_syncs_each_commit(tmp_path: Path) -> None:
    database = Database(tmp_path / "kallos.sqlite")
    with database.read() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
