"""Folders, shards and lists: what they offer, in which order, and what they say of the rest."""

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet
import pytest

from indexer.errors import InvalidInputError, UnreadableImageError
from indexer.imaging.decode import Limits
from indexer.sources.folder import FolderSource
from indexer.sources.open import open_source
from indexer.sources.source import SourceFailure, SourceItem
from tests.support.files import encoded, noise, write_shard
from tests.support.processes import PATIENCE_S

LIMITS = Limits(max_bytes=1 << 20, max_pixels=1 << 24)
PNG = encoded(noise(0))


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)


def items(path: Path) -> list[SourceItem | SourceFailure]:
    return list(open_source(path, limits=LIMITS).items())


def names(path: Path) -> list[str]:
    return [str(Path(item.uri).relative_to(path)) for item in items(path) if isinstance(item, SourceItem)]


def failures(path: Path) -> dict[str, str]:
    return {Path(item.uri).name: item.reason for item in items(path) if isinstance(item, SourceFailure)}


def test_a_folder_comes_in_natural_order(tmp_path: Path) -> None:
    write(tmp_path, "b/img10.png", "b/img9.png", "a.PNG", "img2.jpg", ".hidden/x.png", ".y.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert names(tmp_path) == ["a.PNG", "b/img9.png", "b/img10.png", "img2.jpg"]
    assert open_source(tmp_path, limits=LIMITS).count() == 4


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path, "real/a.png")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(tmp_path) == ["again/a.png", "real/a.png"]
    assert failures(tmp_path) == {"gone.png": "dangling_link", "up": "link_loop"}


def test_a_folder_and_a_pipe_with_the_name_of_a_picture_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg/inside.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert names(tmp_path) == ["a.jpg/inside.png"]
    assert failures(tmp_path) == {"a.jpg": "not_a_file", "pipe.png": "not_a_file"}


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user who may only what files say; root may all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_entered_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "top/a.png", "top/locked/b.png", "top/locked/sub/c.png")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # others may not enter the folders above it
    source = FolderSource(Path("top"), LIMITS)
    Path("top/locked").chmod(0o444)
    try:
        with without_rights():
            found = list(source.items())
    finally:
        Path("top/locked").chmod(0o755)
    assert [item.uri for item in found if isinstance(item, SourceItem)] == ["top/a.png"]
    failed = {item.uri: item.reason for item in found if isinstance(item, SourceFailure)}
    assert failed == {"top/locked/b.png": "unreadable", "top/locked/sub": "unreadable"}
    assert not source.covers("top/locked/sub/c.png")
    assert source.covers("top/c.png")


def test_a_pipe_with_the_name_of_a_sidecar_does_not_block_indexing(tmp_path: Path) -> None:
    write(tmp_path, "kite.png")
    os.mkfifo(tmp_path / "kite.txt")
    (item,) = items(tmp_path)
    assert isinstance(item, SourceItem)
    reader = Thread(target=item.sidecars, daemon=True)
    reader.start()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()


def test_sidecars_lie_beside_their_picture(tmp_path: Path) -> None:
    write(tmp_path, "kite.png")
    (tmp_path / "kite.txt").write_text("by stem")
    (tmp_path / "kite.json").write_text("{}")
    (item,) = items(tmp_path)
    assert isinstance(item, SourceItem)
    assert item.sidecars() == {"txt": b"by stem", "json": b"{}"}
    (tmp_path / "kite.png.txt").write_text("by name")
    (item,) = items(tmp_path)
    assert isinstance(item, SourceItem)
    assert item.sidecars()["txt"] == b"by name"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_shard_groups_its_members_by_stem(tmp_path: Path, suffix: str) -> None:
    shard = tmp_path / f"shard{suffix}"
    members = {"000.png": PNG, "000.txt": b"first", "001.txt": b"second", "001.png": PNG, "readme.md": b""}
    write_shard(shard, members)
    found = [item for item in items(shard) if isinstance(item, SourceItem)]
    assert [item.uri for item in found] == [f"{shard}#000.png", f"{shard}#001.png"]
    assert [item.sidecars() for item in found] == [{"txt": b"first"}, {"txt": b"second"}]
    assert found[0].read() == PNG
    assert open_source(shard, limits=LIMITS).count() == (2 if suffix == ".tar" else None)


MEMBER = 512 + -(-len(PNG) // 512) * 512  # bytes: its header, and its content in whole blocks


@pytest.mark.parametrize("end", [MEMBER + 600, MEMBER + 512, MEMBER + 300, MEMBER])
def test_a_shard_that_ends_too_early_gives_what_it_has_and_deletes_nothing(tmp_path: Path, end: int) -> None:
    shard = tmp_path / "cut.tar"
    write_shard(shard, {"a.png": PNG, "b.png": PNG})
    whole = shard.read_bytes()
    source = open_source(shard, limits=LIMITS)
    assert len(list(source.items())) == 2
    assert source.covers(f"{shard}#b.png")
    for damaged in (whole[:end], whole[:MEMBER] + b"x" * 512 + whole[MEMBER + 512 :]):
        shard.write_bytes(damaged)
        found = list(source.items())
        assert [item.uri for item in found if isinstance(item, SourceItem)] == [f"{shard}#a.png"]
        assert [item.reason for item in found if isinstance(item, SourceFailure)] == ["truncated"]
        assert not source.covers(f"{shard}#b.png")


def test_a_shard_of_dotted_names_is_not_read_as_a_whole(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    content = bytes(LIMITS.max_bytes // 2)
    write_shard(shard, {f"IMG.{number:04}.jpg": content for number in range(40)})
    offered = open_source(shard, limits=LIMITS).items()
    tracemalloc.start()
    first = next(offered)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 6 * len(content)
    assert [item.uri for item in (first, *offered)] == [f"{shard}#IMG.{n:04}.jpg" for n in range(40)]


def test_lists_give_paths_captions_and_metadata(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png")
    rows = {"path": ["a.png", "b.png", None], "caption": ["one", "two", "three"], "stars": [5, 3, 1]}
    pyarrow.parquet.write_table(pa.table(rows), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text('path,caption,stars\na.png,"one, two",5\nb.png,two,3\n,none,1\n')
    for name, first, stars in (("list.parquet", "one", 5), ("list.csv", "one, two", "5")):
        one, two, three = items(tmp_path / name)
        assert isinstance(one, SourceItem)
        assert (one.uri, one.metadata) == (str(tmp_path / "a.png"), {"caption": first, "stars": stars})
        assert one.read() == PNG
        assert isinstance(two, SourceItem)
        assert isinstance(three, SourceFailure)
        assert "row 3" in three.message


def test_a_list_without_a_location_is_refused_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInputError, match=r"expected a column named url.*it has a, b"):
        items(tmp_path / "list.csv")


def test_a_url_without_a_way_to_fetch_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url\nhttp://example.org/a.png\n")
    (item,) = items(tmp_path / "list.csv")
    assert isinstance(item, SourceItem)
    with pytest.raises(UnreadableImageError, match="fetching by URL is off"):
        item.read()


@pytest.mark.parametrize("name", ["missing", "notes.txt"])
def test_what_holds_no_pictures_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InvalidInputError, match=name):
        open_source(tmp_path / name, limits=LIMITS)
