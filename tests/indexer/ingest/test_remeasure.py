"""Measures of pictures that an older version indexed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.attributes import Stored
from indexer.blobs.originals import OriginalStore
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.errors import NotFoundError
from indexer.imaging.decode import Limits
from indexer.imaging.measurer import Measurer
from indexer.imaging.measures import FIELDS
from indexer.ingest.ingest import Ingest
from indexer.ingest.remeasure import MeasureReport, measure_missing
from indexer.sources.open import open_source
from indexer.types import ImageId, ImageRow
from indexer.where import Band
from tests.support.encoder import DIM, ColourEncoder
from tests.support.files import encoded, noise

LIMITS = Limits(max_bytes=1 << 22, max_pixels=1 << 24)


class Old:
    """A collection whose pictures have lost their measures, as if an older version had made it."""

    def __init__(self, root: Path, count: int) -> None:
        self.folder, self.data = root / "pictures", root / "data"
        self.folder.mkdir()
        for seed in range(count):
            (self.folder / f"{seed}.png").write_bytes(encoded(noise(seed)))
        self.collection = Collection.open(self.data, model_id="colours-1", dim=DIM)
        self.thumbnails = ThumbnailStore(self.data)
        job = Ingest(self.collection, ColourEncoder(), self.thumbnails, LIMITS, threads=2)
        job.run(open_source(self.folder, limits=LIMITS))
        self.fresh = self.measured()
        for row in self.rows():
            self.collection.patch(row.id, {"measured": None})

    def rows(self) -> list[ImageRow]:
        return self.collection.snapshot().scroll(limit=1000)

    def measured(self) -> dict[ImageId, object]:
        return {row.id: row.metadata.get("measured") for row in self.rows()}

    def run(self, **options: object) -> MeasureReport:
        originals = OriginalStore(self.data)

        def fetch(url: str) -> bytes:
            raise NotFoundError(url)

        return measure_missing(
            self.collection,
            self.thumbnails,
            lambda row: originals.read(row, fetch),
            LIMITS,
            threads=2,
            **options,  # type: ignore[arg-type]
        )


@pytest.fixture
def old(tmp_path: Path) -> Old:
    return Old(tmp_path, 6)


def test_indexing_measures_and_fields_see_it(old: Old) -> None:
    assert all(isinstance(value, dict) and len(value) == len(FIELDS) for value in old.fresh.values())
    old.run()
    snapshot = old.collection.snapshot()
    inside = Band(Stored("measured.brightness"), 1e-9, 1.0)
    assert snapshot.count(inside) == snapshot.images == 6


def test_originals_give_back_the_very_values_of_indexing(old: Old) -> None:
    for row in old.rows():
        old.thumbnails.drop(row.sha256)
    before = {row.id: old.collection.snapshot().vectors([row.id])[0].tolist() for row in old.rows()}
    report = old.run()
    assert (report.measured, report.failed, report.stopped) == (6, {}, False)
    assert old.measured() == old.fresh
    after = {row.id: old.collection.snapshot().vectors([row.id])[0].tolist() for row in old.rows()}
    assert after == before
    assert verify(old.data, full=True).problems == []


def test_thumbnails_are_enough(old: Old) -> None:
    for path in old.folder.iterdir():
        path.unlink()
    assert old.run().measured == 6
    for image_id, value in old.measured().items():
        fresh = old.fresh[image_id]
        assert isinstance(value, dict)
        assert isinstance(fresh, dict)
        assert value["brightness"] == pytest.approx(fresh["brightness"], abs=0.02)


def test_a_second_run_changes_nothing(old: Old) -> None:
    old.run()
    generation = old.collection.snapshot().version
    assert old.run() == MeasureReport()
    assert old.collection.snapshot().version == generation


def test_what_a_person_wrote_stays(old: Old) -> None:
    image_id = old.rows()[0].id
    old.collection.patch(image_id, {"measured": {"brightness": 0.987}, "caption": "mine"})
    old.run()
    row = old.collection.snapshot().rows([image_id])[0]
    assert row.metadata["caption"] == "mine"
    assert isinstance(row.metadata["measured"], dict)
    assert row.metadata["measured"]["brightness"] == 0.987
    assert len(row.metadata["measured"]) == len(FIELDS)


def test_a_picture_that_is_gone_is_named_and_the_rest_measured(old: Old) -> None:
    row = old.rows()[2]
    old.thumbnails.drop(row.sha256)
    Path(row.uri).unlink()
    report = old.run()
    assert report.measured == 5
    assert list(report.failed) == [row.id]
    assert "--sync" in report.failed[row.id]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    old = Old(tmp_path, 300)  # more than one batch
    asked = iter([False, True])
    seen: list[tuple[int, int]] = []
    report = old.run(
        should_stop=lambda: next(asked), on_progress=lambda done, total: seen.append((done, total))
    )
    assert (report.measured, report.stopped, seen) == (256, True, [(256, 300)])
    assert old.run().measured == 44
    assert old.run().measured == 0


def test_a_picture_deleted_meanwhile_is_left_out(old: Old) -> None:
    ids = [row.id for row in old.rows()]
    old.collection.delete(ids[:1])
    assert old.collection.fill({image_id: {"stars": 1} for image_id in ids}) == 5
    assert ids[0] not in old.measured()


class Halves:
    """A `Scorer`: how bright the left half is; it cannot take pictures that are taller than wide."""

    names = ("left", "unknown")

    def score(self, pixels_HW3: np.ndarray) -> dict[str, float]:
        height, width, _ = pixels_HW3.shape
        if height > width:
            raise ValueError("too tall")
        return {"left": float(pixels_HW3[:, : width // 2].mean()), "unknown": float("nan")}


def test_a_model_of_the_users_own_sees_each_picture_when_it_is_indexed(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("wide.png", (90, 60)), ("tall.png", (60, 90))):
        picture = Image.new("RGB", size)
        picture.paste((200, 200, 200), (0, 0, size[0] // 2, size[1]))
        picture.save(folder / name)
    collection = Collection.open(tmp_path, model_id=ColourEncoder.model_id, dim=DIM)
    measurer = Measurer(Halves())
    ingest = Ingest(
        collection, ColourEncoder(), ThumbnailStore(tmp_path), LIMITS, threads=1, measurer=measurer
    )
    report = ingest.run(open_source(folder, limits=LIMITS))
    assert (report.indexed, report.failed) == (2, [])
    tall, wide = (row.metadata["measured"] for row in collection.snapshot().scroll())
    assert isinstance(tall, dict)
    assert isinstance(wide, dict)
    assert (wide["left"], "unknown" in wide, "left" in tall) == (200.0, False, False)
    assert "brightness" in tall
    assert measurer.fields[-2:] == ("measured.left", "measured.unknown")
    collection.close()
