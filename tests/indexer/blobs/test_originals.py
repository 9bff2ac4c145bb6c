"""Originals are read back from wherever they live."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.blobs.originals import OriginalStore
from indexer.collection.collection import Collection
from indexer.errors import NotFoundError
from indexer.types import ImageRow
from tests.support.files import write_shard
from tests.support.pictures import new_image, unit_vectors


@pytest.mark.parametrize("member", ["0.png", "set #1/0.png", "#.png"])
def test_a_member_of_a_shard_is_read_whatever_its_name_and_its_folder_hold(
    tmp_path: Path, member: str
) -> None:
    shard = tmp_path / "trip #2" / "s.tar"
    shard.parent.mkdir()
    write_shard(shard, {"other.png": b"another", member: b"this one"})
    collection = Collection.open(tmp_path / "data", model_id="m", dim=4)
    collection.add([replace(new_image("a"), uri=f"{shard}#{member}")], unit_vectors(1, 4))
    (row,) = collection.snapshot().scroll(limit=1)
    assert OriginalStore(tmp_path / "data").read(row, lambda url: url.encode()) == b"this one"


def shard_row(folder: Path, shard: Path, member: str) -> ImageRow:
    collection = Collection.open(folder, model_id="m", dim=4)
    collection.add([replace(new_image("a"), uri=f"{shard}#{member}")], unit_vectors(1, 4))
    (row,) = collection.snapshot().scroll(limit=1)
    collection.close()
    return row


def test_a_shard_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = tmp_path / "s.tar"
    members = {f"{number}.png": f"picture {number}".encode() * number for number in range(50)}
    write_shard(shard, members)
    row, store = shard_row(tmp_path / "data", shard, "0.png"), OriginalStore(tmp_path / "data")
    walks, walk = [], tarfile.TarFile.next

    def counted(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        walks.append(archive)
        return walk(archive)

    monkeypatch.setattr(tarfile.TarFile, "next", counted)
    for name, content in members.items():
        assert store.read(replace(row, uri=f"{shard}#{name}"), str.encode) == content
    assert len(walks) <= len(members) + 2


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_a_shard_that_was_written_anew_is_read_again(tmp_path: Path, name: str) -> None:
    shard = tmp_path / name
    write_shard(shard, {"a.png": b"first"})
    row, store = shard_row(tmp_path / "data", shard, "a.png"), OriginalStore(tmp_path / "data")
    assert store.read(row, str.encode) == b"first"
    write_shard(shard, {"other.png": b"longer than a block" * 99, "a.png": b"second"})
    assert store.read(row, str.encode) == b"second"
    write_shard(shard, {"other.png": b"x"})
    with pytest.raises(NotFoundError, match="index its folder again"):
        store.read(row, str.encode)


def test_of_two_members_with_one_name_the_last_counts_and_links_are_followed(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as archive:
        for content in (b"first", b"second"):
            entry = tarfile.TarInfo("a.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.png"
        archive.addfile(link)
    row, store = shard_row(tmp_path / "data", shard, "a.png"), OriginalStore(tmp_path / "data")
    assert store.read(row, str.encode) == b"second"
    assert store.read(replace(row, uri=f"{shard}#link.png"), str.encode) == b"second"
