"""`kallos generators`, and the settings that choose one."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from indexer.errors import InvalidInputError
from rerank.generate.builtin.generator import BuiltinGenerator
from rerank.generate.diffusers.generator import DiffusersGenerator
from rerank.generate.request import GenerationRequest
from service.cli.main import main
from service.settings import Settings
from service.wiring import open_generator
from tests.support.tiny_pipelines import write_lora, write_pipeline


def test_the_list_has_the_builtin_generator_and_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generators", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["generators"]
    assert found[0]["name"] == "builtin"
    assert {info["family"] for info in found} >= {"builtin", "sd15", "sdxl", "sd3", "flux"}
    assert all(info["licence"] for info in found)
    (turbo,) = (info for info in found if info["name"].endswith("sdxl-turbo"))
    assert "KALLOS_GENERATOR_STEPS=1 KALLOS_GENERATOR_GUIDANCE=0" in turbo["note"]


def test_the_list_is_a_table_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generators"]) == 0
    printed = capsys.readouterr().out
    assert "Open RAIL" in printed
    assert "[dev]" in printed  # of FLUX.1: a name, not a style


def test_what_is_here_is_not_downloaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generators", "download", "builtin"]) == 2
    assert "on this machine already" in capsys.readouterr().err


def test_settings_choose_the_builtin_generator() -> None:
    assert isinstance(open_generator(Settings(generator="builtin")), BuiltinGenerator)


def test_settings_choose_a_pipeline_and_how_it_runs(tmp_path: Path) -> None:
    folder = write_pipeline("sd15", tmp_path / "tiny")
    adapter = write_lora(tmp_path / "lora")
    generator = open_generator(
        Settings(
            device="cpu",
            generator=f"diffusers:{folder}",
            generator_dtype="bfloat16",
            generator_adapters=f"{adapter}=0.5",
            generator_scheduler="EulerDiscrete",
            generator_steps=1,
            generator_guidance=2.0,
        )
    )
    assert isinstance(generator, DiffusersGenerator)
    made = generator.generate(GenerationRequest("a kite"))
    assert (made.steps, made.guidance) == (1, 2.0)
    assert (made.info.dtype, made.info.scheduler) == ("bfloat16", "EulerDiscrete")
    assert made.info.adapters == ("pytorch_lora_weights=0.5",)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(generator_dtype="int3")
    with pytest.raises(InvalidInputError, match="adapter"):
        open_generator(Settings(generator_adapters="/none.safetensors"))
    with pytest.raises(InvalidInputError, match="guidance is 99"):
        open_generator(Settings(generator_guidance=99))
