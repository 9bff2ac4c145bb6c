"""Options, adapters, memory and names of pipelines, with random weights."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from indexer.errors import (
    CorruptStoreError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnknownModelError,
)
from rerank.generate.diffusers.drawing import draw
from rerank.generate.diffusers.folder import read_pipeline_folder
from rerank.generate.diffusers.generator import DiffusersGenerator
from rerank.generate.diffusers.loading import open_pipeline, place
from rerank.generate.diffusers.options import Adapter, GeneratorOptions, parse_adapters
from rerank.generate.diffusers.plan import plan_of
from rerank.generate.registry import load_generator
from rerank.generate.request import Progress
from tests.support.drawing import CPU, SMALL, difference, load
from tests.support.tiny_pipelines import rewrite_index, write_lora, write_pipeline
from training.policies.tiny import BUILDERS


def test_nothing_is_fetched(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load(folders / "sd3").generate(SMALL)


def test_a_missing_package_is_named(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UnavailableError, match=r"need peft: pip install 'kallos\[generate\]'"):
        load(folders / "sd15")


def test_naming_and_listing_generators_does_not_import_torch(folders: Path) -> None:
    code = (
        "import sys; from rerank.generate.registry import list_generators, load_generator;"
        f"list_generators(); load_generator('diffusers:{folders / 'sd15'}').licence;"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode
        == 0
    )


@pytest.mark.parametrize("family", BUILDERS)
def test_an_adapter_changes_the_picture_and_goes_without_a_trace(
    folders: Path, tmp_path: Path, family: str
) -> None:
    adapter = Adapter(write_lora(tmp_path, family, size=3.0))
    plain = load(folders / family).generate(SMALL)
    generator = load(folders / family, adapters=(adapter,))
    adapted = generator.generate(SMALL)
    assert difference(plain.pixels, adapted.pixels) > 0
    assert adapted.info.adapters == ("pytorch_lora_weights=1",)
    assert adapted.model_id.startswith(f"{plain.model_id}+pytorch_lora_weights=1/")
    generator.use_adapters([replace(adapter, weight=0.3)])
    weaker = generator.generate(SMALL)
    assert difference(weaker.pixels, adapted.pixels) > 0
    generator.use_adapters([])
    again = generator.generate(SMALL)
    np.testing.assert_array_equal(plain.pixels, again.pixels)
    assert again.info.adapters == ()
    assert again.model_id == plain.model_id


def test_an_adapter_of_another_family_is_refused_and_the_present_one_stays(
    folders: Path, tmp_path: Path
) -> None:
    generator = load(folders / "sd15", adapters=(Adapter(write_lora(tmp_path / "own", "sd15")),))
    before = generator.generate(SMALL)
    foreign = write_lora(tmp_path / "foreign", "flux")
    with pytest.raises(InvalidInputError, match=str(foreign)):
        generator.use_adapters([Adapter(foreign)])
    after = generator.generate(SMALL)
    np.testing.assert_array_equal(before.pixels, after.pixels)
    assert after.info.adapters == before.info.adapters != ()


def test_a_damaged_adapter_is_named(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    generator = load(folders / "sd15", adapters=(Adapter(tmp_path / "broken.safetensors"),))
    with pytest.raises(CorruptStoreError, match="broken"):
        generator.generate(SMALL)


def test_an_adapter_of_other_shapes_is_refused(folders: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path)
    save_file({name: torch.cat([value, value], dim=1) for name, value in load_file(path).items()}, path)
    with pytest.raises(InvalidInputError, match="does not fit the model"):
        load(folders / "sd15", adapters=(Adapter(path),)).generate(SMALL)


def test_adapters_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "style.bin"
    pickled.write_bytes(b"")
    good = tmp_path / "style.safetensors"
    good.write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"style\.bin: expected a \.safetensors"):
        Adapter(pickled)
    with pytest.raises(InvalidInputError, match="that exists"):
        Adapter(tmp_path / "none.safetensors")
    with pytest.raises(InvalidInputError, match="weight nan"):
        Adapter(good, float("nan"))
    with pytest.raises(InvalidInputError, match="named twice"):
        GeneratorOptions(adapters=(Adapter(good), Adapter(good, 0.5)))
    with pytest.raises(InvalidInputError, match="expected FILE"):
        parse_adapters(f"{good}=strong")
    assert parse_adapters(f"{good}=0.5") == (Adapter(good, 0.5),)
    assert parse_adapters(f"{good}:") == (Adapter(good),)


@contextmanager
def small_memory(generator: DiffusersGenerator, has_room: Callable[[Any], bool]) -> Iterator[Any]:
    """The autoencoder's decoder fails as torch does where `has_room(autoencoder)` is False."""
    vae = generator._open().pipeline.vae

    def refuse(_module: object, _given: object) -> None:
        if not has_room(vae):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    handle = vae.decoder.register_forward_pre_hook(refuse)
    try:
        yield vae
    finally:
        handle.remove()


def test_out_of_memory_is_tried_again_in_tiles_and_said(folders: Path) -> None:
    generator = load(folders / "sd15")
    alone = generator.generate(SMALL)
    seen: list[int] = []
    with small_memory(generator, lambda vae: vae.use_tiling) as vae:
        made = generator.generate(SMALL, lambda progress: seen.append(progress.done))
    assert made.info.warnings == ("memory ran out at 64 x 64 px: made again, decoded in tiles",)
    assert seen == [1, 2, 1, 2]
    assert not vae.use_tiling
    np.testing.assert_array_equal(made.pixels, alone.pixels)  # one tile holds all of it


def test_out_of_memory_twice_is_unavailable_with_the_sizes(folders: Path) -> None:
    generator = load(folders / "sd15")
    with (
        small_memory(generator, lambda _vae: False) as vae,
        pytest.raises(UnavailableError, match=r"64 x 64 px .* MB of weights .*MB free.*smaller picture"),
    ):
        generator.generate(SMALL)
    assert not vae.use_tiling
    assert generator.generate(SMALL).info.warnings == ()


def test_a_model_that_does_not_fit_at_all_is_unavailable_with_its_size(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 30 GiB.")

    monkeypatch.setattr(StableDiffusionPipeline, "to", refuse)
    with pytest.raises(
        UnavailableError, match=r"not enough memory to load \d+ MB of weights \(cpu: \d+ MB free\)"
    ):
        load(folders / "sd15").generate(SMALL)


def test_weights_that_were_cut_short_are_noticed(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "sd15", tmp_path / "cut")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CorruptStoreError, match=str(folder)):
        load(folder).generate(SMALL)


def test_other_errors_are_not_taken_for_a_lack_of_memory(folders: Path) -> None:
    generator = load(folders / "sd15")

    def fail(_progress: Progress) -> None:
        raise RuntimeError("of the listener")

    with pytest.raises(RuntimeError, match="of the listener"):
        generator.generate(SMALL, fail)


def test_numbers_that_overflow_are_no_picture(folders: Path) -> None:
    generator = load(folders / "sd15")
    with torch.no_grad():
        generator._open().pipeline.vae.decoder.conv_out.weight.fill_(float("nan"))
    with pytest.raises(UnavailableError, match="overflowed in float32"):
        generator.generate(SMALL)


def test_bfloat16_on_a_cpu_is_near_float32(folders: Path) -> None:
    exact = load(folders / "sd3").generate(SMALL)
    rough = load(folders / "sd3", dtype="bfloat16").generate(SMALL)
    assert rough.info.dtype == "bfloat16"
    assert 0 < difference(exact.pixels, rough.pixels) < 10


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"offload": "model"}, "device is a CPU"),
        ({"dtype": "float16"}, "for a GPU"),
        ({"device": "abacus"}, "expected auto, cpu, cuda"),
        ({"scheduler": "warp"}, "expected one of"),
    ],
)
def test_options_that_do_not_fit_the_machine_or_the_model(
    folders: Path, options: dict[str, object], word: str
) -> None:
    with pytest.raises(InvalidInputError, match=word):
        load(folders / "sd15", **options).generate(SMALL)


def test_a_gpu_that_is_not_there_is_unavailable(folders: Path) -> None:
    with pytest.raises(UnavailableError, match=r"torch finds \d CUDA devices"):
        load(folders / "sd15", device="cuda:99").generate(SMALL)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dtype": "int3"}, "expected auto, float32"),
        ({"offload": "cloud"}, "expected none, model"),
        ({"steps": 0}, "steps is 0"),
        ({"guidance": -1.0}, "guidance is -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        GeneratorOptions(**options)  # type: ignore[arg-type]


def test_names_lead_to_one_generator_or_to_a_clear_error(folders: Path, tmp_path: Path) -> None:
    assert load_generator("builtin", options=CPU).licence == "Apache-2.0"
    with pytest.raises(InvalidInputError, match="builtin generator takes no"):
        load_generator("builtin", options=GeneratorOptions(dtype="float32"))
    for name in ("midjourney", "diffusers:", "diffusers:just-a-name", "diffusers:a/b/c"):
        with pytest.raises(UnknownModelError, match="possible: builtin, diffusers:/path"):
            load_generator(name)
    with pytest.raises(NotFoundError, match="no diffusers pipeline here"):
        load_generator(f"diffusers:{tmp_path}")
    with pytest.raises(UnavailableError, match="kallos generators download diffusers:org/name"):
        load_generator("diffusers:org/name", cache=tmp_path)


def test_a_folder_says_its_licence_and_source(folders: Path) -> None:
    generator = load(folders / "sdxl")
    assert generator.licence == "openrail, LICENSE.md"
    assert generator.source == str(folders / "sdxl")
    assert generator.model_id.startswith("diffusers:sdxl/")


def test_a_pipeline_of_an_unknown_family_is_refused(folders: Path, tmp_path: Path) -> None:
    folder = write_pipeline("sd15", tmp_path / "other")
    rewrite_index(folder, _class_name="StableDiffusionInpaintPipeline")
    with pytest.raises(InvalidInputError, match=r"InpaintPipeline.*FluxPipeline"):
        load(folder)


@pytest.mark.parametrize("family", BUILDERS)
def test_parts_that_move_draw_the_same(
    generators: dict[str, DiffusersGenerator], folders: Path, family: str
) -> None:
    """From the CPU to the CPU: the hooks that move them are the same as with a GPU. So is cancelling."""
    folder = read_pipeline_folder(folders / family)
    opened = open_pipeline(folder, CPU)
    place(opened.pipeline, opened.device, "model")
    plan = plan_of(SMALL, folder, CPU)

    def stop(_progress: Progress) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(opened, folder.family, plan, stop)
    for _ in range(2):
        drawn = draw(opened, folder.family, plan, lambda _progress: None)
        np.testing.assert_array_equal(drawn.pixels, generators[family].generate(SMALL).pixels)


@pytest.mark.gpu
@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
@pytest.mark.parametrize("family", BUILDERS)
def test_a_gpu_draws_nearly_what_the_cpu_draws(
    generators: dict[str, DiffusersGenerator], folders: Path, family: str, offload: str
) -> None:
    generator = load(folders / family, device="cuda", dtype="float32", offload=offload)

    def stop(_progress: Progress) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        generator.generate(SMALL, stop)
    made = generator.generate(SMALL)
    assert difference(made.pixels, generators[family].generate(SMALL).pixels) < 2
    assert (made.info.device, made.info.offload) == ("cuda", offload)


@pytest.mark.gpu
def test_out_of_memory_on_a_gpu_is_tried_again_with_offload(folders: Path) -> None:
    generator = load(folders / "sd15", device="cuda")
    with small_memory(generator, lambda vae: vae.use_tiling):
        made = generator.generate(SMALL)
    assert made.info.offload == "model"
    assert made.info.warnings == (
        "memory ran out at 64 x 64 px: made again, decoded in tiles, with model offload",
    )
    again = generator.generate(SMALL)
    assert (again.info.offload, again.info.warnings) == ("none", ())
    assert next(generator._open().pipeline.unet.parameters()).device.type == "cuda"
