"""Indexing: what is new, what is skipped, what is followed, what is deleted."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.errors import StoreError
from indexer.filters.language import parse_filter
from indexer.imaging.decode import Limits
from indexer.ingest.ingest import Ingest, IngestReport, ItemReport, Progress
from indexer.sources.open import open_source
from indexer.sources.source import Source, SourceFailure, SourceItem
from indexer.types import ImageId
from indexer.where import Matching
from tests.support.encoder import DIM, ColourEncoder
from tests.support.files import encoded, noise, write_shard
from tests.support.limits import nothing_written

LIMITS = Limits(max_bytes=1 << 22, max_pixels=1 << 24)


class Library:
    """A folder of pictures and a collection of it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "pictures"
        self.folder.mkdir()
        self.collection = Collection.open(root / "data", model_id="colours-1", dim=DIM)
        self.thumbnails = ThumbnailStore(root / "data")
        self.job = Ingest(self.collection, ColourEncoder(), self.thumbnails, LIMITS, threads=2)

    def put(self, name: str, seed: int) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(seed)))
        return path

    def index(self, **options: object) -> IngestReport:
        return replace(self.job, **options).run(open_source(self.folder, limits=LIMITS))  # type: ignore[arg-type]

    def ids(self) -> dict[str, ImageId]:
        return {Path(uri).name: known.id for uri, known in self.collection.known().items()}


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.indexed, report.unchanged, report.moved, report.deleted, len(report.failed)


def test_each_picture_is_stored_with_its_own_vector(library: Library) -> None:
    for seed in range(70):  # more than two batches of the encoder
        library.put(f"{seed}.png", seed)
    assert counts(library.index()) == (70, 0, 0, 0, 0)
    encoder, snapshot = ColourEncoder(), library.collection.snapshot()
    for row in snapshot.scroll(limit=100):
        seed = int(Path(row.uri).stem)
        expected_D = encoder.encode_images([np.asarray(noise(seed))])[0]
        np.testing.assert_allclose(snapshot.vectors([row.id])[0], expected_D, atol=1e-3)
        assert (row.width, row.height) == (48, 40)
        assert library.thumbnails.get(row.sha256) is not None


def test_a_second_run_finds_nothing_new(library: Library) -> None:
    for seed in range(5):
        library.put(f"{seed}.png", seed)
    library.index()
    generation = library.collection.snapshot().version
    assert counts(library.index()) == (0, 5, 0, 0, 0)
    assert library.collection.snapshot().version == generation


def test_a_touched_file_is_not_encoded_again(library: Library) -> None:
    path = library.put("a.png", 1)
    library.index()
    os.utime(path, ns=(1, 2))
    assert counts(library.index()) == (0, 1, 0, 0, 0)
    assert library.collection.known()[str(path)].mtime_ns == 2


def test_a_changed_file_keeps_its_id(library: Library) -> None:
    library.put("a.png", 1)
    library.put("b.png", 2)
    library.index()
    before = library.ids()
    library.put("a.png", 3)
    assert counts(library.index()) == (1, 1, 0, 0, 0)
    assert library.ids() == before
    snapshot = library.collection.snapshot()
    row = snapshot.rows([library.collection.known()[str(library.folder / "a.png")].id])[0]
    expected_D = ColourEncoder().encode_images([np.asarray(noise(3))])[0]
    np.testing.assert_allclose(snapshot.vectors([row.id])[0], expected_D, atol=1e-3)


def test_moves_and_deletions_are_noticed_when_asked(library: Library) -> None:
    for seed in range(4):
        library.put(f"{seed}.png", seed)
    library.index()
    before = library.ids()
    (library.folder / "0.png").rename(library.folder / "zero.png")
    (library.folder / "1.png").unlink()
    (library.folder / "sub").mkdir()
    (library.folder / "2.png").rename(library.folder / "sub" / "2.png")
    report = library.index(sync=True)
    assert (report.moved, report.deleted, report.indexed) == (2, 1, 0)
    assert library.ids() == {"zero.png": before["0.png"], "2.png": before["2.png"], "3.png": before["3.png"]}


def test_a_file_moved_over_a_known_one_is_that_one_changed(library: Library) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        library.put(name, seed)
    library.index()
    before = library.ids()
    (library.folder / "a.png").replace(library.folder / "b.png")
    library.put("d.png", 9)
    assert counts(library.index(sync=True)) == (2, 1, 0, 1, 0)
    after = library.ids()
    assert set(after) == {"b.png", "c.png", "d.png"}
    assert after["b.png"] == before["b.png"]
    assert counts(library.index(sync=True)) == (0, 3, 0, 0, 0)


class Unhurried:
    """A source that answers whether it covers a picture when two have asked, or soon after."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._both = Barrier(2, timeout=0.5)

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        return self._source.items()

    def count(self) -> int | None:
        return self._source.count()

    def uris(self) -> None:
        return None

    def covers(self, uri: str) -> bool:
        with suppress(BrokenBarrierError):
            self._both.wait()
        return self._source.covers(uri)


def test_of_two_copies_of_a_moved_file_one_was_moved_and_one_is_new(library: Library) -> None:
    path = library.put("old.png", 1)
    library.index()
    before = library.ids()
    library.put("copy.png", 1)
    path.rename(library.folder / "moved.png")
    source = Unhurried(open_source(library.folder, limits=LIMITS))
    report = replace(library.job, sync=True).run(source)
    assert counts(report) == (1, 1, 1, 0, 0)
    after = library.ids()
    assert set(after) == {"copy.png", "moved.png"}
    assert before["old.png"] in after.values()


def test_copies_in_a_shard_are_all_kept(library: Library) -> None:
    shard, data = library.folder / "s.tar", encoded(noise(1))
    write_shard(shard, {"a.png": data})
    job, source = replace(library.job, sync=True), open_source(shard, limits=LIMITS)
    job.run(source)
    (first,) = library.ids().values()
    write_shard(shard, {"c.png": data, "a.png": data})
    for time in (1, 2, 3):
        os.utime(shard, ns=(time, time))
        report = job.run(source)
        assert (report.indexed, report.moved, report.deleted) == (int(time == 1), 0, 0)
        assert set(library.ids()) == {"s.tar#a.png", "s.tar#c.png"}
        assert library.ids()["s.tar#a.png"] == first


def test_without_sync_nothing_is_deleted(library: Library) -> None:
    library.put("a.png", 1).unlink()
    library.put("b.png", 2)
    library.index()
    (library.folder / "b.png").unlink()
    assert counts(library.index()) == (0, 0, 0, 0, 0)
    assert set(library.ids()) == {"b.png"}


def test_sync_spares_what_another_source_holds(library: Library, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.png").write_bytes(encoded(noise(9)))
    library.job.run(open_source(other, limits=LIMITS))
    library.put("a.png", 1)
    library.index(sync=True)
    assert set(library.ids()) == {"a.png", "x.png"}


def test_a_drive_that_is_not_mounted_deletes_nothing(library: Library) -> None:
    library.put("locked/a.png", 1)
    library.index()
    (library.folder / "locked").rename(library.folder.parent / "away")
    (library.folder / "locked").symlink_to(library.folder.parent / "nowhere")
    report = library.index(sync=True)
    assert [item.reason for item in report.failed] == ["dangling_link"]
    assert report.deleted == 0
    assert set(library.ids()) == {"a.png"}


def test_a_copy_takes_no_place_of_a_link_whose_drive_is_not_mounted(library: Library) -> None:
    drive = library.folder.parent / "drive"
    drive.mkdir()
    library.put("a.png", 1).rename(drive / "a.png")
    (library.folder / "link.png").symlink_to(drive / "a.png")
    library.index()
    before = library.ids()
    drive.rename(library.folder.parent / "away")
    library.put("copy.png", 1)
    report = library.index(sync=True)
    assert counts(report) == (1, 0, 0, 0, 1)
    assert library.ids()["link.png"] == before["link.png"]


def test_equal_files_share_a_vector_and_are_two_pictures(library: Library) -> None:
    library.put("a.png", 1)
    library.index()
    library.put("b.png", 1)
    assert counts(library.index()) == (1, 1, 0, 0, 0)
    snapshot = library.collection.snapshot()
    first, second = snapshot.vectors([row.id for row in snapshot.scroll(limit=10)])
    np.testing.assert_array_equal(first, second)


def test_one_bad_picture_never_stops_the_rest(library: Library) -> None:
    for seed in range(40):
        library.put(f"{seed:02}.png", seed)
    for name, data in {"05.png": b"", "17.png": b"no picture", "39.png": encoded(noise(1))[:60]}.items():
        (library.folder / name).write_bytes(data)
    report = library.index()
    assert report.indexed == 37
    found = {Path(item.uri).name: item.reason for item in report.failed}
    assert found["05.png"] == "empty"
    assert found["17.png"] == "not_an_image"
    assert set(found) == {"05.png", "17.png", "39.png"}


def test_a_name_that_is_not_utf_8_fails_alone(library: Library) -> None:
    library.put("a.png", 1)
    folder = os.fsencode(library.folder)
    Path(os.fsdecode(folder + b"/caf\xe9.png")).write_bytes(encoded(noise(2)))
    Path(os.fsdecode(folder + b"/link\xe9.png")).symlink_to(library.folder / "nowhere")
    library.put("z.png", 3)
    report = library.index()
    assert set(library.ids()) == {"a.png", "z.png"}
    assert {Path(item.uri).name: item.reason for item in report.failed} == {
        r"caf\udce9.png": "unreadable",
        r"link\udce9.png": "dangling_link",
    }


@pytest.mark.parametrize(
    ("sidecar", "title"),
    [
        (r'{"title": "half a letter: \ud83d"}', "half a letter: ?"),
        (r'{"title": NaN}', None),
        ('{"title": "x", "photoTakenTime": {"timestamp": "99999999999999999999"}}', None),
    ],
)
def test_a_sidecar_that_cannot_be_stored_costs_no_picture(
    library: Library, sidecar: str, title: str | None
) -> None:
    library.put("a.png", 1)
    library.put("b.png", 2)
    (library.folder / "a.json").write_text(sidecar)
    report = library.index()
    assert counts(report) == (2, 0, 0, 0, 0)
    assert len(report.warnings) == 1
    row = library.collection.snapshot().rows([library.ids()["a.png"]])[0]
    assert row.metadata.get("title") == title


def test_a_full_disk_ends_the_run_and_blames_no_picture(library: Library) -> None:
    library.put("a.png", 1)
    with nothing_written(), pytest.raises(StoreError, match=r"cannot write .*: File too large"):
        library.index()
    assert list((library.folder.parent / "data" / "thumbnails").rglob("*.part")) == []
    assert counts(library.index()) == (1, 0, 0, 0, 0)


def index_list(library: Library, fetch: Callable[[str], bytes]) -> IngestReport:
    path = library.folder / "list.csv"
    path.write_text("url\nhttp://example.org/a.png\nhttp://example.org/b.png\n")
    return library.job.run(open_source(path, limits=LIMITS, fetch=fetch))


def test_a_list_of_urls_that_is_indexed_again_keeps_sizes(library: Library) -> None:
    data = encoded(noise(1))
    for expected in ((2, 0, 0, 0, 0), (0, 2, 0, 0, 0)):
        assert counts(index_list(library, lambda _: data)) == expected
        assert {row.size for row in library.collection.snapshot().scroll(limit=10)} == {len(data)}


def test_a_picture_that_is_deleted_while_its_list_runs_is_a_new_one(library: Library) -> None:
    data = encoded(noise(1))
    index_list(library, lambda _: data)
    before = library.ids()

    def fetch(url: str) -> bytes:
        if url.endswith("/a.png"):
            library.collection.delete([before["a.png"]])
        return data

    assert counts(index_list(library, fetch)) == (1, 1, 0, 0, 0)
    after = library.ids()
    assert after["b.png"] == before["b.png"]
    assert after["a.png"] != before["a.png"]


def test_a_stopped_run_keeps_what_it_did_and_goes_on(library: Library) -> None:
    for seed in range(100):
        library.put(f"{seed}.png", seed)
    asked = iter(range(1000))
    report = library.index(should_stop=lambda: next(asked) >= 60)
    assert report.stopped
    assert 0 < report.indexed <= 60
    assert library.collection.snapshot().images == report.indexed
    rest = library.index()
    assert (rest.indexed, rest.unchanged) == (100 - report.indexed, report.indexed)


def test_progress_counts_every_picture_once(library: Library) -> None:
    for seed in range(10):
        library.put(f"{seed}.png", seed)
    (library.folder / "3.png").write_bytes(b"")
    seen: list[Progress] = []
    reports: list[ItemReport] = []
    library.index(on_progress=seen.append, on_item=reports.append)
    assert [progress.done for progress in seen] == list(range(1, 11))
    assert {progress.total for progress in seen} == {10}
    assert sorted(item.status for item in reports) == ["failed"] + ["indexed"] * 9


def test_captions_and_dates_are_stored(library: Library) -> None:
    library.put("a.png", 1)
    (library.folder / "a.json").write_text(
        '{"caption": "a kite", "taken_at": "2001-09-09T01:46:40Z", "stars": 4}'
    )
    library.index()
    (row,) = library.collection.snapshot().scroll(limit=1)
    assert row.taken_at == 1_000_000_000
    assert {name: row.metadata[name] for name in row.metadata if name != "measured"} == {
        "caption": "a kite",
        "stars": 4,
    }


def test_a_number_that_a_list_does_not_have_is_stored_as_null(library: Library) -> None:
    for seed in (1, 2):
        library.put(f"{seed}.png", seed)
    columns = {
        "path": ["1.png", "2.png"],
        "score": [0.5, float("nan")],
        "sizes": [[1.0], [float("inf"), 3.0]],
    }
    pyarrow.parquet.write_table(pa.table(columns), library.folder / "list.parquet")
    library.job.run(open_source(library.folder / "list.parquet", limits=LIMITS))
    snapshot = library.collection.snapshot()
    stored = {Path(row.uri).name: row.metadata for row in snapshot.scroll(limit=2)}
    assert {name: (known["score"], known["sizes"]) for name, known in stored.items()} == {
        "1.png": (0.5, [1.0]),
        "2.png": (None, [None, 3.0]),
    }
    assert snapshot.count(Matching(parse_filter({"range": {"score": {"gt": 0}}}))) == 1
    assert snapshot.count(Matching(parse_filter({"match": {"sizes": 3}}))) == 1
