"""The law of `indexer.sources.source.Source`, on every implementation."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from indexer.errors import UnreadableImageError
from indexer.imaging.decode import REASONS, Limits
from indexer.sources.open import open_source
from indexer.sources.source import Source, SourceFailure, SourceItem
from service.uploads import UploadSource
from tests.support.files import encoded, noise, write_shard

LIMITS = Limits(max_bytes=1 << 16, max_pixels=1 << 24)
PICTURES = {f"{number:03}.png": encoded(noise(number)) for number in range(12)}
CAPTION = b"a caption"
ELSEWHERE = ("/elsewhere/000.png", "https://example.org/000.png", "upload:0")


@dataclass(frozen=True, slots=True)
class Case:
    """`pictures` are what `source` must offer, by the last part of the URI."""

    source: Source
    pictures: dict[str, bytes]


def _files(folder: Path, pictures: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_bytes(CAPTION)
    return folder


def folder_of(root: Path, pictures: dict[str, bytes]) -> Path:
    return _files(root / "folder", pictures)


def shard_of(root: Path, pictures: dict[str, bytes], name: str = "shard.tar") -> Path:
    captioned: dict[str, bytes] = {}
    for member, data in pictures.items():
        captioned |= {member: data, f"{Path(member).stem}.txt": CAPTION}
    write_shard(root / name, captioned)
    return root / name


def parquet_of(root: Path, pictures: dict[str, bytes]) -> Path:
    _files(root / "listed", pictures)
    table = pa.table({"path": [f"listed/{name}" for name in pictures], "stars": [3] * len(pictures)})
    pyarrow.parquet.write_table(table, root / "list.parquet")
    return root / "list.parquet"


def lines_of(root: Path, pictures: dict[str, bytes], name: str, between: str) -> Path:
    _files(root / "listed", pictures)
    lines = [f"path{between}stars", *(f"listed/{picture}{between}3" for picture in pictures)]
    (root / name).write_text("\n".join(lines))
    return root / name


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": folder_of,
    "tar": shard_of,
    "tar.gz": lambda root, pictures: shard_of(root, pictures, "shard.tar.gz"),
    "parquet": parquet_of,
    "csv": lambda root, pictures: lines_of(root, pictures, "list.csv", ","),
    "tsv": lambda root, pictures: lines_of(root, pictures, "list.tsv", "\t"),
}
KINDS = (*WRITERS, "one file", "uploads")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_writer = pytest.mark.parametrize("kind", WRITERS)


def opened(kind: str, root: Path) -> Case:
    if kind == "one file":
        (name, data), *_ = PICTURES.items()
        return Case(open_source(_files(root / "one", {name: data}) / name, limits=LIMITS), {name: data})
    if kind == "uploads":
        items = [item for item in opened("folder", root).source.items() if isinstance(item, SourceItem)]
        return Case(UploadSource(items), PICTURES)
    return Case(open_source(WRITERS[kind](root, PICTURES), limits=LIMITS), PICTURES)


def items_of(source: Source) -> list[SourceItem]:
    found = list(source.items())
    assert not [item for item in found if isinstance(item, SourceFailure)]
    return [item for item in found if isinstance(item, SourceItem)]


def name_of(uri: str) -> str:
    return uri.replace("#", "/").rpartition("/")[2]


@every_kind
def test_every_picture_is_offered_once_with_its_bytes(tmp_path: Path, kind: str) -> None:
    case = opened(kind, tmp_path)
    items = items_of(case.source)
    assert [name_of(item.uri) for item in items] == list(case.pictures)
    assert [item.read() for item in items] == list(case.pictures.values())
    assert [item.size for item in items] == [len(data) for data in case.pictures.values()]
    assert len({item.uri for item in items}) == len(items)


@every_kind
def test_a_second_look_gives_the_same(tmp_path: Path, kind: str) -> None:
    case = opened(kind, tmp_path)
    first, second = (
        [(item.uri, item.size, item.mtime_ns, item.metadata) for item in items_of(case.source)]
        for _ in range(2)
    )
    assert first == second
    assert all(mtime_ns > 0 for _, _, mtime_ns, _ in first)  # of files that did not change


@every_kind
def test_the_count_is_the_number_of_items_or_unknown(tmp_path: Path, kind: str) -> None:
    case = opened(kind, tmp_path)
    assert case.source.count() in (len(case.pictures), None)


@every_kind
def test_what_lies_beside_a_picture_comes_with_it(tmp_path: Path, kind: str) -> None:
    for item in items_of(opened(kind, tmp_path).source):
        assert item.sidecars() == {"txt": CAPTION}


@every_kind
def test_items_are_read_from_any_thread_also_when_the_listing_has_ended(tmp_path: Path, kind: str) -> None:
    case = opened(kind, tmp_path)
    items = items_of(case.source)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda item: item.read(), items)) == list(case.pictures.values())


@every_kind
def test_all_uris_are_named_or_none(tmp_path: Path, kind: str) -> None:
    case = opened(kind, tmp_path)
    assert case.source.uris() in (None, [item.uri for item in items_of(case.source)])


@every_kind
def test_it_covers_nothing_that_lies_elsewhere(tmp_path: Path, kind: str) -> None:
    """A run with `sync` deletes what is covered and was not offered."""
    case = opened(kind, tmp_path)
    items_of(case.source)
    assert not [uri for uri in (*ELSEWHERE, f"{tmp_path}/other/000.png") if case.source.covers(uri)]


@every_kind
def test_what_it_covers_and_does_not_offer_is_gone(tmp_path: Path, kind: str) -> None:
    """All that is offered is covered, and so is what went since; or nothing is, and nothing is deleted."""
    case = opened(kind, tmp_path)
    uris = [item.uri for item in items_of(case.source)]
    covered = [case.source.covers(uri) for uri in uris]
    assert covered in ([True] * len(uris), [False] * len(uris))
    gone = uris[0].replace("000.png", "gone.png")
    assert case.source.covers(gone) == (covered[0] and kind != "one file")


@every_writer
def test_a_picture_past_the_byte_cap_fails_alone(tmp_path: Path, kind: str) -> None:
    pictures = dict(PICTURES) | {"005.png": bytes(LIMITS.max_bytes + 1)}
    items = items_of(open_source(WRITERS[kind](tmp_path, pictures), limits=LIMITS))
    assert [name_of(item.uri) for item in items] == list(pictures)
    for item in items:
        if name_of(item.uri) == "005.png":
            with pytest.raises(UnreadableImageError, match=f"expected at most {LIMITS.max_bytes}"):
                item.read()
        else:
            assert item.read() == pictures[name_of(item.uri)]


def _break(kind: str, path: Path) -> None:
    """One picture can no longer be offered."""
    match kind:
        case "folder":
            (path / "011.png").unlink()
            (path / "011.png").symlink_to(path / "nowhere.png")
        case "tar" | "tar.gz":
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2])
        case _:
            (path.parent / "listed" / "011.png").unlink()


@every_writer
def test_what_cannot_be_offered_is_named_with_a_reason_and_the_others_come(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path, PICTURES)
    _break(kind, path)
    found = list(open_source(path, limits=LIMITS).items())
    offered = [item for item in found if isinstance(item, SourceItem)]
    (failure,) = (item for item in found if isinstance(item, SourceFailure))
    assert failure.reason in REASONS
    assert failure.message
    assert Path(failure.uri).is_absolute()
    assert len(offered) >= 2
    assert [item.read() for item in offered] == list(PICTURES.values())[: len(offered)]
