"""Backups: whole, incremental, refused where they would hurt; and stores that an older Kallos wrote."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.collection.backup import backup, restore
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import ConflictError, CorruptStoreError, NotFoundError, StoreError
from tests.support.build import build
from tests.support.limits import small_disk
from tests.support.pictures import new_image, unit_vectors

DIM = 24
OLD_STORE = Path(__file__).parents[2] / "golden" / "store-v1"


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM)


def contents(collection: Collection) -> dict[str, list[float]]:
    snapshot = collection.snapshot()
    rows = snapshot.scroll(limit=10_000)
    return {
        row.uri: vector.tolist()
        for row, vector in zip(rows, snapshot.vectors([row.id for row in rows]), strict=True)
    }


def test_a_backup_restores_to_what_was_there(tmp_path: Path) -> None:
    data, target, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    collection = open_collection(data)
    ids = collection.add([new_image(i) for i in range(3000)], unit_vectors(3000, DIM))
    (data / "originals" / "ab").mkdir(parents=True)
    (data / "originals" / "ab" / "abc").write_bytes(b"picture")
    build(collection, "ivf_sq8")
    first = backup(data, target)
    assert first.images == 3000

    collection.add([new_image(f"late-{i}") for i in range(10)], unit_vectors(10, DIM, seed=4))
    collection.delete(ids[:5])
    second = backup(data, target)
    assert second.images == 3005
    assert second.bytes_copied <= 10 * DIM * 2 + 20_000  # the ten rows and the manifest

    build(collection, "ivf_sq8", reclaim=True)
    backup(data, target)
    assert [path.name for path in (target / "default").glob("vectors*")] == ["vectors-1.f16"]

    restore(target, restored)
    assert contents(open_collection(restored)) == contents(collection)
    assert open_collection(restored).snapshot().covered_rows == 3005
    assert (restored / "originals" / "ab" / "abc").read_bytes() == b"picture"
    assert verify(restored, full=True).problems == []


def test_a_backup_that_was_killed_is_the_one_before_it(tmp_path: Path) -> None:
    data, target, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    collection = open_collection(data)
    collection.add([new_image(i) for i in range(292)], unit_vectors(292, DIM))
    backup(data, target)
    before = contents(collection)

    collection.add([new_image(f"late-{i}") for i in range(3)], unit_vectors(3, DIM, seed=4))
    build(collection, "ivf_sq8")  # covers pictures that the first backup does not know
    code = "import sys, pathlib, indexer.collection.backup as b; b.backup(*map(pathlib.Path, sys.argv[1:]))"
    environment = os.environ | {"KALLOS_CRASH_AT": "backup-copied"}
    killed = subprocess.run([sys.executable, "-c", code, data, target], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = target / "kallos.sqlite.part"
    assert left.stat().st_size == (target / "kallos.sqlite").stat().st_size  # lengths do not tell them apart

    restore(target, restored)
    assert verify(restored, full=True).problems == []
    assert contents(open_collection(restored)) == before
    assert not list(restored.rglob("*.part"))

    backup(data, target)
    assert open_collection(target).snapshot().covered_rows == 295
    assert len(list((target / "default").glob("index-*"))) == 1


def other_pictures(folder: Path) -> None:
    open_collection(folder).add([new_image(f"other-{i}") for i in range(25)], unit_vectors(25, DIM, seed=2))


def other_collection(folder: Path) -> None:
    collection = Collection.open(folder, "cats", model_id="test-1", dim=DIM)
    collection.add([new_image(i) for i in range(25)], unit_vectors(25, DIM))


@pytest.mark.parametrize("fill", [other_pictures, other_collection])
def test_a_backup_of_other_data_is_not_written_over(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    collection = open_collection(tmp_path / "data")
    collection.add([new_image(i) for i in range(20)], unit_vectors(20, DIM))
    backup(tmp_path / "data", tmp_path / "backup")
    fill(tmp_path / "other")
    with pytest.raises(ConflictError, match="backup of other data"):
        backup(tmp_path / "other", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert contents(open_collection(tmp_path / "restored")) == contents(collection)


def test_a_backup_is_not_written_over_by_its_own_past_that_went_on_differently(tmp_path: Path) -> None:
    data, first, second = tmp_path / "data", tmp_path / "first", tmp_path / "second"
    collection = open_collection(data)
    collection.add([new_image(i) for i in range(20)], unit_vectors(20, DIM))
    backup(data, first)
    collection.add([new_image(f"late-{i}") for i in range(10)], unit_vectors(10, DIM, seed=4))
    backup(data, second)

    restore(first, tmp_path / "fork")
    fork = open_collection(tmp_path / "fork")
    with pytest.raises(ConflictError, match="backup of other data"):  # it has fewer pictures
        backup(tmp_path / "fork", second)
    fork.add([new_image(f"fork-{i}") for i in range(10)], unit_vectors(10, DIM, seed=5))
    with pytest.raises(ConflictError, match="backup of other data"):  # it has as many
        backup(tmp_path / "fork", second)
    restore(second, tmp_path / "restored")
    assert contents(open_collection(tmp_path / "restored")) == contents(collection)
    backup(tmp_path / "fork", first)  # this is its past
    assert contents(open_collection(first)) == contents(fork)


def test_an_index_as_long_as_the_one_before_it_is_copied(tmp_path: Path) -> None:
    collection = open_collection(tmp_path / "data")
    ids = collection.add([new_image(i) for i in range(2000)], unit_vectors(2000, DIM))
    build(collection, "ivf_sq8")
    backup(tmp_path / "data", tmp_path / "backup")
    collection.delete(ids[:1000])
    build(collection, None, reclaim=True)  # so few need no index
    collection.add([new_image(f"late-{i}") for i in range(1000)], unit_vectors(1000, DIM, seed=4))
    build(collection, "ivf_sq8")
    backup(tmp_path / "data", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert open_collection(tmp_path / "restored").snapshot().covered_rows == 2000


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "backup"
    collection = open_collection(data)
    collection.add([new_image(i) for i in range(20)], unit_vectors(20, DIM))
    backup(data, target)
    vectors = target / "default" / "vectors.f16"
    vectors.write_bytes(vectors.read_bytes()[:-10])
    with pytest.raises(CorruptStoreError, match="vectors_missing"):
        restore(target, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_backups_do_not_go_where_they_would_hurt(tmp_path: Path) -> None:
    data = tmp_path / "data"
    open_collection(data).add([new_image(1)], unit_vectors(2, DIM)[:1])
    full = tmp_path / "documents"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    with pytest.raises(ConflictError, match="not a backup"):
        backup(data, full)
    with pytest.raises(ConflictError, match="inside"):
        backup(data, data / "backup")
    with pytest.raises(ConflictError, match="not empty"):
        restore(data, full)
    with pytest.raises(NotFoundError, match="no Kallos data"):
        backup(tmp_path / "nothing", tmp_path / "target")


def test_a_store_of_the_first_schema_is_read_and_goes_on(tmp_path: Path) -> None:
    """Forty pictures, two deleted, one updated, written by schema 1 (tests/golden/store-v1)."""
    shutil.copytree(OLD_STORE, tmp_path / "data")
    collection = Collection.open(tmp_path / "data", model_id="test-1", dim=8, model="test-1")
    assert collection.snapshot().images == 38
    names = {f"/pictures/{i}.png" for i in range(40)} - {"/pictures/3.png", "/pictures/4.png"}
    assert contents(collection).keys() == names
    np.testing.assert_array_equal(
        contents(collection)["/pictures/7.png"], unit_vectors(1, 8, seed=9)[0].astype(np.float16)
    )
    build(collection, None, reclaim=True)
    assert contents(collection).keys() == names
    assert verify(tmp_path / "data", full=True).problems == []


FILL_UP = """
import sys
from pathlib import Path
from indexer.collection.collection import Collection
from indexer.errors import StoreError
from tests.support.pictures import new_image, unit_vectors
collection = Collection.open(Path(sys.argv[1]), model_id="test-1", dim=256)
done = 0
try:
    while True:
        collection.add([new_image(f"{done}-{i}") for i in range(50)], unit_vectors(50, 256, seed=done))
        done += 1
        print(done, flush=True)
except StoreError as error:
    print("refused", error.code, flush=True)
"""


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, megabytes=2):
        output = subprocess.run(
            [sys.executable, "-c", FILL_UP, str(disk)], capture_output=True, text=True, check=True
        ).stdout.split("\n")
        assert output[-2] == "refused store_error"
        acknowledged = int(output[-3])
        collection = Collection.open(disk, model_id="test-1", dim=256)
        assert collection.snapshot().images == 50 * acknowledged
        assert verify(disk, full=True).problems == []
        collection.close()


def test_a_backup_that_finds_no_room_says_so_and_leaves_the_one_before(tmp_path: Path) -> None:
    collection, disk = open_collection(tmp_path / "data"), tmp_path / "disk"
    collection.add([new_image(1)], unit_vectors(2, DIM)[:1])
    with small_disk(disk, megabytes=1):
        backup(tmp_path / "data", disk / "backup")
        collection.add([new_image(n) for n in range(2, 40_000)], unit_vectors(40_000, DIM)[2:])
        with pytest.raises(StoreError, match=r"cannot write .*disk/backup"):
            backup(tmp_path / "data", disk / "backup")
        restored = restore(disk / "backup", tmp_path / "restored")
        assert restored.images == 1
    collection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder that even its owner cannot write")
def test_a_read_only_directory_is_a_clear_error(tmp_path: Path) -> None:
    collection = open_collection(tmp_path / "data")
    collection.add([new_image(1)], unit_vectors(2, DIM)[:1])
    collection.close()
    bound = subprocess.run(
        ["mount", "--bind", "-o", "ro", str(tmp_path / "data"), str(tmp_path / "data")],
        capture_output=True,
        check=False,
    )
    if bound.returncode:
        pytest.skip(f"cannot mount read-only: {bound.stderr.decode().strip()}")
    try:
        with pytest.raises(StoreError, match=r"kallos\.sqlite"):
            open_collection(tmp_path / "data").add([new_image(2)], unit_vectors(2, DIM)[:1])
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path / "data")], check=True)
