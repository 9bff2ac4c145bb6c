"""Originals are read back from wherever they live."""

from dataclasses import replace
from pathlib import Path

import pytest

from indexer.blobs.originals import OriginalStore
from indexer.collection.collection import Collection
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
    (row,) = collection.view().scroll(limit=1)
    assert OriginalStore(tmp_path / "data").read(row, lambda url: url.encode()) == b"this one"
