"""From a request to a stored picture: sizes, refusals, and hooks that lead nowhere."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from indexer.blobs.originals import OriginalStore
from indexer.collection.collection import Collection
from indexer.errors import InvalidInputError, PromptRefusedError, UnavailableError
from indexer.tables.generated import GenerationStore
from rerank.generate.request import Pixels
from rerank.generate.safety import Blocklist, Verdict
from service.generation.image_service import DISPLAY_SIDE, ImageGenerationService, fitted_size
from service.generation.spec import LARGEST_SIDE, SMALLEST_SIDE, GenerationSpec, side_lengths
from service.generation.work import KIND, GenerateWork
from service.jobs import JobRunner
from service.settings import Settings
from service.wiring import open_image_service
from tests.support.painter import Painter
from tests.support.processes import until

sides = st.integers(SMALLEST_SIDE, LARGEST_SIDE)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    collection = Collection.open(tmp_path, model_id="m", dim=8)
    yield collection
    collection.close()


@dataclass
class EverySecond:
    """A `Classifier`."""

    seen: list[Pixels] = field(default_factory=list)

    def judge(self, pixels: Pixels) -> Verdict:
        self.seen.append(pixels)
        return Verdict(len(self.seen) % 2 == 1, "every second one")


@given(sides, sides, sides, sides)
def test_a_picture_fits_and_touches_and_keeps_its_shape(
    width: int, height: int, most_width: int, most_height: int
) -> None:
    got_width, got_height = fitted_size(
        width, height, GenerationSpec("x", width=most_width, height=most_height)
    )
    assert got_width <= most_width
    assert got_height <= most_height
    assert got_width == most_width or got_height == most_height
    # Each side is at most half a pixel off, or the one pixel that there must be.
    scale = min(most_width / width, most_height / height)
    assert abs(got_width - scale * width) <= 0.5 + 1e-9 or got_width == 1
    assert abs(got_height - scale * height) <= 0.5 + 1e-9 or got_height == 1


@given(sides, sides)
def test_without_a_size_only_small_pictures_change(width: int, height: int) -> None:
    got = fitted_size(width, height, GenerationSpec("x"))
    assert max(got) == max(DISPLAY_SIDE, width, height)
    if max(width, height) >= DISPLAY_SIDE:
        assert got == (width, height)


def test_pictures_that_are_refused_are_counted_and_not_kept(collection: Collection, tmp_path: Path) -> None:
    store = GenerationStore(collection.database, collection.name)
    image_service = ImageGenerationService(
        Painter(), store, OriginalStore(tmp_path), classifier=EverySecond()
    )
    jobs = JobRunner(collection.database, {KIND: GenerateWork(image_service)})
    job = jobs.submit(KIND, GenerationSpec("a cat", seed=1, count=3).to_json())
    jobs.start()
    ended = until(lambda: jobs.get(job.id), lambda it: it.finished_at is not None)
    jobs.close()
    assert [made.seed for made in store.of_job(job.id)] == [1, 3]
    assert ended.result == {"generations": [made.id for made in store.of_job(job.id)], "refused": 1}
    assert len([path for path in (tmp_path / "originals").rglob("*") if path.is_file()]) == 2


def test_what_a_generator_says_of_its_options_names_the_settings(
    collection: Collection, tmp_path: Path
) -> None:
    image_service = ImageGenerationService(
        Painter(), GenerationStore(collection.database, collection.name), OriginalStore(tmp_path)
    )
    with pytest.raises(UnavailableError, match="or KALLOS_GENERATOR_OFFLOAD=sequential"):
        image_service.generate(
            GenerationSpec("too wide", seed=1), 0, job=None, on_step=lambda _progress: None
        )


@pytest.mark.parametrize("prompt", ["a Flying\n SAUCER", "saucer?flying saucer!", "ﬂying saucer"])
def test_phrases_are_found_however_they_are_written(prompt: str) -> None:
    with pytest.raises(PromptRefusedError):
        Blocklist(["flying  Saucer", ""]).check(prompt)


@pytest.mark.parametrize("prompt", ["a saucer", "flying saucers", "highflying saucer", "[a-z]+"])
def test_other_words_pass(prompt: str) -> None:
    Blocklist(["flying saucer", "[x]"]).check(prompt)
    Blocklist([]).check(prompt)


@pytest.mark.parametrize("size", ["", "512", "512x", "x512", "-1x5", "512x512x512", "9" * 30 + "x1", "½x½"])
def test_sizes_that_are_none_are_refused(size: str) -> None:
    with pytest.raises(InvalidInputError, match="WIDTHxHEIGHT"):
        side_lengths(size)


@pytest.mark.parametrize(
    "option",
    [
        {"generate_classifier": "no.such.module:Name"},
        {"generate_classifier": "json:NoSuchName"},
        {"generate_classifier": "json:loads"},  # needs an argument
        {"generate_blocklist": "/no/such/file"},
    ],
)
def test_hooks_that_lead_nowhere_are_named_at_once(
    collection: Collection, tmp_path: Path, option: dict[str, str]
) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path} | option)
    with pytest.raises(InvalidInputError, match=next(iter(option.values()))):
        open_image_service(settings, collection)


@pytest.mark.parametrize("box", [(100, 37), (333, 77), (777, 51), (17, 2000)])
def test_the_file_has_the_size_that_its_row_says(
    collection: Collection, tmp_path: Path, box: tuple[int, int]
) -> None:
    image_service = ImageGenerationService(
        Painter(), GenerationStore(collection.database, collection.name), OriginalStore(tmp_path)
    )
    spec = GenerationSpec("a cat", seed=1, width=box[0], height=box[1])
    made = image_service.generate(spec, 0, job=None, on_step=lambda _progress: None)
    with Image.open(io.BytesIO(image_service.content(made))) as image:
        assert image.size == (made.width, made.height)
