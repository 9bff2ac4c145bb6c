"""The name that loads a collection's encoder is not lost, and where an older version lost it, it is found."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from indexer.collection.backup import backup, restore
from indexer.collection.collection import DATABASE, Collection
from indexer.collection.made_with import MadeWith, find_made_with
from indexer.collection.verify import verify
from indexer.encoders.builtin import BuiltinEncoder
from indexer.types import NewImage
from service.cli.main import main
from tests.support.server import write_pictures

OLD_STORE = Path(__file__).parents[1] / "golden" / "store-v1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures")
    assert main(["index", str(tmp_path / "pictures"), "--data-dir", str(tmp_path / "data")]) == 0
    return tmp_path / "data"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory of the first schema, whose model is named by a file."""
    shutil.copytree(OLD_STORE, tmp_path / "old")
    (tmp_path / "old" / "default" / "model").write_text("onnx:/models/test\n")
    return tmp_path / "old"


def name_in_database(data: Path, value: str | None) -> None:
    """As if that had been written there."""
    connection = sqlite3.connect(data / DATABASE)
    connection.execute("UPDATE collection SET model = ?", (value,))
    connection.commit()
    connection.close()


def codes(data: Path) -> list[str]:
    return [problem.code for problem in verify(data, full=True).problems]


def test_the_name_is_in_the_database_and_in_no_file(data: Path) -> None:
    made = find_made_with(data, "default")
    assert made is not None
    assert made.model == "builtin"
    assert not (data / "default" / "model").exists()


def test_an_old_data_directory_is_read_by_its_file_and_brings_the_name_along(old: Path) -> None:
    expected = MadeWith("test-1", 8, "onnx:/models/test")
    assert find_made_with(old, "default") == expected
    assert codes(old) == []
    Collection.open(old, model_id="test-1", dim=8, model=expected.model).close()
    (old / "default" / "model").unlink()
    assert find_made_with(old, "default") == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00\xff\xfe"])
def test_a_file_that_a_power_cut_has_emptied_says_nothing(old: Path, content: bytes) -> None:
    (old / "default" / "model").write_bytes(content)
    assert find_made_with(old, "default") == MadeWith("test-1", 8, None)
    assert codes(old) == ["model_unnamed"]
    Collection.open(old, model_id="test-1", dim=8, model="onnx:/models/test").close()
    assert codes(old) == []


def test_the_builtin_model_is_found_again_by_its_id(data: Path) -> None:
    name_in_database(data, None)
    (data / "default" / "model").write_bytes(b"")
    assert codes(data) == ["model_unnamed"]
    assert main(["search", "a red card", "--data-dir", str(data)]) == 0
    assert codes(data) == []


def old_collection(folder: Path, name: str) -> Path:
    """As an older Kallos made it, when `builtin` was `builtin-1`: pictures that look red, and blue."""
    encoder = BuiltinEncoder("builtin-1", threads=1)
    collection = Collection.open(folder, model_id="builtin-1", dim=encoder.dim, model=name)
    vectors_ND = encoder.encode_texts(["red", "blue"])
    images = [
        NewImage(f"/{word}.png", str(n) * 64, 1, 1, 1, 1, "png", taken_at=None, metadata={})
        for n, word in enumerate(("red", "blue"))
    ]
    collection.add(images, vectors_ND)
    collection.close()
    return folder


@pytest.mark.parametrize("stored", ["builtin", ""])
@pytest.mark.parametrize("asked", ["builtin", "builtin-1", None])
def test_a_collection_of_an_older_builtin_model_goes_on_with_it(
    tmp_path: Path,
    stored: str,
    asked: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = old_collection(tmp_path, stored)
    if asked is not None:
        monkeypatch.setenv("KALLOS_MODEL", asked)
    write_pictures(tmp_path / "pictures")
    assert main(["search", "blue", "--mode", "vectors", "--json", "--data-dir", str(data)]) == 0
    first = json.loads(capsys.readouterr().out)["hits"][0]
    assert first["uri"] == "/blue.png"
    assert np.isclose(first["score"], 1, atol=1e-2)  # the same model's vector of the same word
    assert main(["index", str(tmp_path / "pictures"), "--data-dir", str(data)]) == 0
    made = find_made_with(data, "default")
    assert made is not None
    assert made.model_id == "builtin-1"


def test_another_builtin_model_than_its_own_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = find_made_with(data, "default")
    assert made is not None
    assert made.model_id == "builtin-2"  # of a new collection
    monkeypatch.setenv("KALLOS_MODEL", "builtin-1")
    assert main(["search", "a red card", "--data-dir", str(data)]) == 1
    assert "holds vectors of builtin-2" in capsys.readouterr().err


def test_a_collection_made_by_code_needs_no_name(tmp_path: Path) -> None:
    encoder = BuiltinEncoder()
    Collection.open(tmp_path, model_id=encoder.model_id, dim=encoder.dim).close()
    assert codes(tmp_path) == []
    assert main(["search", "a red card", "--data-dir", str(tmp_path)]) == 0


def test_another_model_has_to_be_named_once(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (old / "default" / "model").write_bytes(b"")
    assert main(["stats", "--data-dir", str(old)]) == 0  # which needs none
    capsys.readouterr()
    assert main(["search", "a red card", "--data-dir", str(old)]) == 1
    message = capsys.readouterr().err
    assert "test-1" in message
    assert "KALLOS_MODEL" in message
    monkeypatch.setenv("KALLOS_MODEL", "builtin")  # but not by any name
    assert main(["search", "a red card", "--data-dir", str(old)]) == 1
    assert "holds vectors of test-1" in capsys.readouterr().err
    assert codes(old) == ["model_unnamed"]


def test_a_backup_without_the_name_is_restored(data: Path, tmp_path: Path) -> None:
    name_in_database(data, None)
    backup(data, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert codes(tmp_path / "restored") == ["model_unnamed"]
    assert main(["search", "a red card", "--data-dir", str(tmp_path / "restored")]) == 0


@pytest.mark.parametrize("is_emptied", [True, False])
def test_vectors_without_their_database_are_not_written_over(
    data: Path, is_emptied: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = (data / "default" / "vectors.f16").read_bytes()
    for path in data.glob(f"{DATABASE}*"):
        path.unlink()
    if is_emptied:
        (data / DATABASE).touch()
    pictures = str(data.parent / "pictures")
    for command in (["search", "a red card"], ["stats"], ["index", pictures], ["generate", "a fox"]):
        assert main([*command, "--data-dir", str(data)]) == 1
        assert "restore a backup" in capsys.readouterr().err
    assert (data / "default" / "vectors.f16").read_bytes() == vectors
