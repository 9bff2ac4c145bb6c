"""`kallos generate`: what it keeps, writes and refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.generating import generate_all, write_files
from service.cli.main import main
from service.generation.image_service import ImageGenerationService
from service.generation.spec import GenerationSpec
from service.settings import Settings
from service.wiring import open_image_service, open_library
from tests.support.painter import Painter


@pytest.fixture
def image_service(tmp_path: Path) -> Iterator[ImageGenerationService]:
    settings = Settings(data_dir=tmp_path / "data")
    with open_library(settings, create=True) as library:
        yield open_image_service(settings, library.collection, Painter())


def test_pictures_are_kept_and_written(image_service: ImageGenerationService, tmp_path: Path) -> None:
    made = generate_all(image_service, GenerationSpec("a red fox", seed=3, count=2))
    assert [one.seed for one in made] == [3, 4]
    assert image_service.store.list() == made[::-1]
    files = write_files(image_service, made, tmp_path / "fox.png")
    assert [file.name for file in files] == ["fox.png", "fox-2.png"]
    assert [file.read_bytes() for file in files] == [image_service.content(one) for one in made]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["x" * 10_000], "10000 characters"),
        (["fox", "--size", "100000x100000"], "width is 100000"),
        (["fox", "--size", "big"], "WIDTHxHEIGHT"),
        (["fox", "--steps=-1"], "steps is -1"),
        (["fox", "--guidance", "nan"], "guidance is nan"),
        (["fox", "--count", "99"], "count is 99"),
        (["fox", "--out", "/no/such/folder/fox.png"], "folder does not exist"),
    ],
)
def test_wishes_that_make_no_sense_end_with_one_line(
    options: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *options, "--data-dir", str(tmp_path / "data"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "invalid_input"
    assert word in error["detail"]
    assert not (tmp_path / "data").exists()
