"""The file of ids says what the database says, and is made again where it does not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.collection.backup import backup, restore
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.disk.ids import NAME, IdFile
from indexer.types import ImageId
from tests.support.pictures import new_image, unit_vectors

DIM = 8
COUNT = 12


def open_collection(folder: Path) -> Collection:
    return Collection.open(folder, model_id="test-1", dim=DIM)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Twelve pictures, one of them edited, one deleted."""
    collection = open_collection(tmp_path / "data")
    ids = collection.add([new_image(n) for n in range(COUNT)], unit_vectors(COUNT, DIM))
    collection.patch(ids[2], {"stars": 1})
    collection.delete([ids[3]])
    collection.close()
    return tmp_path / "data"


def nearest_to_each(folder: Path) -> list[int]:
    collection = open_collection(folder)
    snapshot = collection.snapshot()
    found = [int(snapshot.nearest(query_D, 1).ids_K[0]) for query_D in unit_vectors(COUNT, DIM)]
    collection.close()
    return found


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 5 * 8])


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 5 * 8 + 3])


@pytest.mark.parametrize("damage", [remove, cut, tear])
def test_a_file_that_is_missing_or_short_is_filled_from_the_database(
    data_dir: Path, damage: Callable[[Path], None]
) -> None:
    before, path = nearest_to_each(data_dir), data_dir / "default" / NAME
    content = path.read_bytes()
    damage(path)
    assert verify(data_dir, full=True).problems == []  # nothing is lost
    assert nearest_to_each(data_dir) == before
    assert path.read_bytes() == content


def test_verify_names_a_file_that_says_something_else(data_dir: Path) -> None:
    IdFile(data_dir / "default").write([ImageId(99)], at=4)
    (problem,) = verify(data_dir, full=False).problems
    assert (problem.code, problem.where) == ("ids_damaged", str(data_dir / "default" / NAME))
    assert "slot 4 holds picture 99: expected 5" in problem.message
    (data_dir / "default" / NAME).unlink()
    assert nearest_to_each(data_dir)[4] == 5


def test_a_backup_has_as_many_ids_as_it_has_pictures(data_dir: Path, tmp_path: Path) -> None:
    before = nearest_to_each(data_dir)
    backup(data_dir, tmp_path / "backup")
    ids_N = np.fromfile(tmp_path / "backup" / "default" / NAME, "<i8")
    assert ids_N.tolist() == [*range(1, COUNT + 1), 3]  # the edit has a slot of its own
    restore(tmp_path / "backup", tmp_path / "restored")
    assert nearest_to_each(tmp_path / "restored") == before


@pytest.mark.parametrize("damage", [remove, cut, tear])
@pytest.mark.parametrize("how", ["add", "patch"])
def test_a_write_that_comes_before_any_search_fills_it_too(
    data_dir: Path, damage: Callable[[Path], None], how: str
) -> None:
    path = data_dir / "default" / NAME
    content = path.read_bytes()
    damage(path)
    collection = open_collection(data_dir)
    if how == "add":
        ids = collection.add([new_image("new")], unit_vectors(1, DIM))
    else:
        ids = [collection.patch(ImageId(1), {"stars": 5}).id]
    collection.close()
    assert np.fromfile(path, "<i8").tolist() == [*np.frombuffer(content, "<i8").tolist(), *ids]
    assert verify(data_dir, full=True).problems == []
