"""Runs on diffusers pipelines in service: their own pipelines with the same weights are the oracle."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.errors import InvalidInputError
from rerank.generate.diffusers.families import FAMILIES
from rerank.generate.diffusers.generator import DiffusersGenerator
from rerank.generate.diffusers.options import Adapter as AdapterFile
from rerank.generate.registry import load_generator
from rerank.generate.tuned.run import TunedRun, read_run
from service.cli.main import main
from service.settings import Settings
from service.wiring import open_generator
from tests.support.drawing import CPU, SMALL, difference, load
from tests.support.runs import write_comparison
from tests.support.tiny_pipelines import write_lora, write_pipeline
from training.policies import adapters
from training.policies.options import Adapter
from training.run_folder import write_card

DENOISER = {family.name: family.denoiser for family in FAMILIES}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run_of(folder: Path, name: str, file: Path) -> TunedRun:
    base = {"name": name, "model_id": load_generator(name, options=CPU).model_id}
    write_card(folder, kind="pcpo", base=base, config={}, seed=0, files=[file])
    run = read_run(folder)
    write_comparison(run)  # against the builtin generator, which is in service
    return run


def use(run: TunedRun, data: Path, *more: str) -> int:
    return main(["generator", "use", str(run.folder), "--data-dir", str(data), *more])


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_an_adapter_is_applied_to_its_pipeline(tmp_path: Path, family: str) -> None:
    pipeline = write_pipeline(family, tmp_path / "pipeline")
    file = write_lora(tmp_path / "run/adapter", family)
    run = run_of(tmp_path / "run", f"diffusers:{pipeline}", file)
    assert use(run, tmp_path / "data") == 0
    generator = open_generator(Settings(data_dir=tmp_path / "data", device="cpu"))
    made = generator.generate(SMALL)
    expected = load(pipeline, adapters=(AdapterFile(file),)).generate(SMALL).pixels
    np.testing.assert_array_equal(made.pixels, expected)
    assert difference(made.pixels, load(pipeline).generate(SMALL).pixels) > 0
    assert made.info.adapters == (f"{run.id}=1",)
    assert run.id in made.model_id
    assert made.model_id == generator.model_id


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_all_weights_take_the_place_of_the_pipelines_own(tmp_path: Path, family: str) -> None:
    pipeline = write_pipeline(family, tmp_path / "pipeline")
    oracle = load(pipeline)
    plain = oracle.generate(SMALL).pixels
    network = getattr(oracle._open().pipeline, DENOISER[family])
    network.requires_grad_(True)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.3)
    file = adapters.save(network, Adapter(rank=0), DENOISER[family], tmp_path / "run")
    run = run_of(tmp_path / "run", f"diffusers:{pipeline}", file)
    assert use(run, tmp_path / "data") == 0
    made = open_generator(Settings(data_dir=tmp_path / "data", device="cpu")).generate(SMALL)
    np.testing.assert_array_equal(made.pixels, oracle.generate(SMALL).pixels)
    assert difference(made.pixels, plain) > 0
    assert run.id in made.model_id


def test_a_pipeline_that_is_not_the_one_of_the_run_needs_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = write_pipeline("sd15", tmp_path / "pipeline")
    run = run_of(tmp_path / "run", f"diffusers:{pipeline}", write_lora(tmp_path / "run/adapter"))
    unet = pipeline / "unet/diffusion_pytorch_model.safetensors"
    unet.write_bytes(unet.read_bytes())  # as when it was copied from another machine: another time
    assert use(run, tmp_path / "data", "--json") == 1
    detail = json.loads(capsys.readouterr().out)["error"]["detail"]
    assert f"it was trained from {run.base_id}, here is diffusers:pipeline/" in detail
    assert use(run, tmp_path / "data", "--anyway") == 0


def test_weights_of_another_model_are_an_error_of_the_picture(tmp_path: Path) -> None:
    pipeline = write_pipeline("sd15", tmp_path / "pipeline")
    generator = load(write_pipeline("sdxl", tmp_path / "other"))
    network = generator._open().pipeline.unet
    network.requires_grad_(True)
    file = adapters.save(network, Adapter(rank=0), "unet", tmp_path / "run")
    name = f"diffusers:{pipeline}"
    (tmp_path / "tuned/weights").mkdir(parents=True)
    file.rename(tmp_path / "tuned/weights/a.safetensors")
    wrong = load_generator(name, options=CPU, tuned=tmp_path / "tuned")
    assert isinstance(wrong, DiffusersGenerator)
    with pytest.raises(InvalidInputError, match="does not fit the model"):
        wrong.generate(SMALL)
