"""On a full disk every write is a StoreError that names the file and the reason; nothing is left of it."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.ann.build import Watch, build
from indexer.ann.faiss_interface import IO_FLAG_SKIP_STORAGE, IndexFlatIP, IndexHNSWCagra, write_index
from indexer.ann.index import FAMILIES, Family
from indexer.ann.ivf import Ivf
from indexer.ann.rows import Rows
from indexer.ann.segment import Segment
from indexer.blobs.deployed import DeployedStore
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.disk.files import disk_error, replace_text, writing
from indexer.errors import StoreError
from indexer.types import ImageId
from rerank.rephrase.cache import AnswerCache
from tests.support.build import build as compacted
from tests.support.limits import fill_up, nothing_written, small_disk
from tests.support.pictures import new_image, unit_vectors

DIM = 24
ROWS = 3000


def filled(folder: Path) -> Collection:
    collection = Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)
    collection.add([new_image(n) for n in range(ROWS)], unit_vectors(ROWS, DIM))
    return collection


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check_it_is_as_it_was(collection: Collection, data_dir: Path, before: set[str]) -> None:
    assert names(data_dir) - before <= {"default/compact.lock", "default/build.lock"}
    assert verify(data_dir, full=True).problems == []
    found = collection.snapshot().nearest(unit_vectors(ROWS, DIM)[7], 1)
    assert found.ids_K.tolist() == [8]


@pytest.mark.parametrize("beyond", [200, 10_000, 20_000])  # bytes: centroids, lists, or the index is larger
@pytest.mark.parametrize("family", FAMILIES)
def test_an_index_that_finds_no_room(tmp_path: Path, family: Family, beyond: int) -> None:
    collection = filled(tmp_path)
    before = names(tmp_path)
    with (
        nothing_written(beyond=beyond),
        pytest.raises(StoreError, match=r"cannot write .*/default/.*: File too large"),
    ):
        compacted(collection, family)
    check_it_is_as_it_was(collection, tmp_path, before)
    assert compacted(collection, family).built == ROWS


@pytest.mark.parametrize("leave", [16_384, 65_536])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_index_on_a_disk_that_is_really_full(tmp_path: Path, family: Family, leave: int) -> None:
    with small_disk(tmp_path / "default", megabytes=1):
        collection = filled(tmp_path)
        fill_up(tmp_path / "default", leave=leave)
        before = names(tmp_path)
        with pytest.raises(StoreError, match=r"cannot write .*/default/.*: No space left on device"):
            compacted(collection, family)
        check_it_is_as_it_was(collection, tmp_path, before)
        collection.close()


@pytest.mark.parametrize("family", [None, *FAMILIES])
def test_space_that_cannot_be_given_back(tmp_path: Path, family: Family | None) -> None:
    with small_disk(tmp_path / "default", megabytes=1):
        collection = filled(tmp_path)
        collection.delete([ImageId(n) for n in range(2001, 3001)])
        ballast = fill_up(tmp_path / "default", leave=65_536)  # 96,000 bytes of vectors are to be kept
        before = names(tmp_path)
        with pytest.raises(StoreError, match=r"cannot write .*/vectors-1\.f16: No space left on device"):
            compacted(collection, family, reclaim=True)
        check_it_is_as_it_was(collection, tmp_path, before)
        ballast.unlink()
        assert compacted(collection, family, reclaim=True).reclaimed == 1000
        collection.close()


def test_slots_that_cannot_be_written(tmp_path: Path) -> None:
    collection = filled(tmp_path)
    collection.delete([ImageId(n) for n in range(2001, 2003)])
    (tmp_path / "default" / "slots-1.i64").mkdir()  # in the way
    before = names(tmp_path)
    with pytest.raises(StoreError, match=r"cannot write .*/slots-1\.i64: Is a directory"):
        compacted(collection, None, reclaim=True)
    check_it_is_as_it_was(collection, tmp_path, before)


def test_a_segment_that_finds_no_room_costs_nothing_but_speed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection = Collection.open(tmp_path, model_id="test-1", dim=DIM, exact_rows=0, segment_rows=100)
    collection.add([new_image(n) for n in range(2500)], unit_vectors(ROWS, DIM)[:2500])
    compacted(collection, "ivf_sq8")
    collection.index_store._segment_rows = 10_000
    collection.add([new_image(n) for n in range(2500, ROWS)], unit_vectors(ROWS, DIM)[2500:])
    collection.index_store._segment_rows = 100
    before = names(tmp_path)
    with nothing_written(beyond=2000):
        assert not collection.extend_index()
    assert "File too large" in caplog.text
    check_it_is_as_it_was(collection, tmp_path, before)


def saves() -> dict[str, Callable[[Path, Path], None]]:
    """Every kind of index file: (folder for the work of a build, file)."""
    rows = Rows(unit_vectors(300, DIM).astype(np.float16))

    def family(name: Family) -> Callable[[Path, Path], None]:
        return lambda work, path: build(rows, name, work, Watch()).save(path)

    def segment(work: Path, path: Path) -> None:
        base = build(Rows(rows.rows_ND[:200]), "ivf_sq8", work, Watch())
        assert isinstance(base, Ivf)
        Segment.over(rows, 200, 300, base.index).save(path)

    def cagra(work: Path, path: Path) -> None:  # what a GPU's graph is written as
        write_index(IndexHNSWCagra(), path, IO_FLAG_SKIP_STORAGE)

    return {name: family(name) for name in (*FAMILIES, "flat")} | {"segment": segment, "cagra": cagra}


@pytest.mark.parametrize("kind", ["ivf_rabitq", "ivf_sq8", "hnsw", "flat", "segment", "cagra"])
def test_no_index_file_is_cut_short_in_silence(tmp_path: Path, kind: str) -> None:
    saves()[kind](tmp_path / "work", tmp_path / "whole")
    size = (tmp_path / "whole").stat().st_size
    with nothing_written(beyond=size - 1), pytest.raises(OSError, match="File too large") as caught:
        saves()[kind](tmp_path / "work", tmp_path / "cut")
    assert caught.value.errno == errno.EFBIG


def test_an_index_that_fits_into_one_buffer_is_not_cut_short_either(tmp_path: Path) -> None:
    with nothing_written(), pytest.raises(OSError, match="File too large"):
        write_index(IndexFlatIP(8), tmp_path / "index")
    with pytest.raises(OSError, match="No such file"):
        write_index(IndexFlatIP(8), tmp_path / "no" / "index")


def test_a_text_is_replaced_or_stays(tmp_path: Path) -> None:
    replace_text(tmp_path / "text", "before")
    with nothing_written(), pytest.raises(StoreError, match=r"cannot write .*/text: File too large"):
        replace_text(tmp_path / "text", "after")
    assert (names(tmp_path), (tmp_path / "text").read_text()) == ({"text"}, "before")


def test_a_generator_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    store = DeployedStore(tmp_path)
    with store.held(), nothing_written(), pytest.raises(StoreError, match=r"cannot write .*/abc"):
        store.put("abc", lambda folder: replace_text(folder / "weights", "1"), {})
    assert names(tmp_path) == {"generators", "generators/lock"}


def test_an_answer_that_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "cache")
    with nothing_written():
        cache.put("0" * 64, "an answer")
    assert cache.get("0" * 64) is None
    assert names(tmp_path) == {"cache"}


def test_what_was_read_for_it_is_named_too(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    reason = rf"cannot write copy: No such file or directory \({missing}\)"
    with pytest.raises(StoreError, match=reason), writing(Path("copy")):
        missing.read_bytes()


def test_only_a_disk_is_blamed_for_what_a_disk_says() -> None:
    full = disk_error(OSError(errno.ENOSPC, "No space left on device", "/data/x"))
    assert str(full) == "cannot write /data/x: No space left on device"
    assert disk_error(OSError(errno.ECONNREFUSED, "Connection refused")) is None
