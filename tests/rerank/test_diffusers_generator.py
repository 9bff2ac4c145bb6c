"""Pipelines of each family with random weights, through the code that runs published ones."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from indexer.errors import (
    CorruptStoreError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnknownModelError,
    UnsafePictureError,
)
from rerank.generate.diffusers_drawing import draw
from rerank.generate.diffusers_generator import DiffusersGenerator
from rerank.generate.diffusers_loading import open_pipeline, place
from rerank.generate.options import Adapter, GeneratorOptions, parse_adapters
from rerank.generate.pipeline_folder import read_pipeline_folder
from rerank.generate.plan import plan_of
from rerank.generate.registry import load_generator
from rerank.generate.request import GenerationRequest, Pixels, Progress
from tests.support.tiny_pipelines import (
    BUILDERS,
    rewrite_index,
    tiny_safety_checker,
    write_lora,
    write_pipeline,
)

CPU = GeneratorOptions(device="cpu")
SMALL = GenerationRequest("a red kite", seed=3, steps=2, width=64, height=64)
NEGATIVE = {"sd15": True, "sdxl": True, "sd3": True, "flux": False}


def load(folder: Path, **options: object) -> DiffusersGenerator:
    generator = load_generator(f"diffusers:{folder}", options=replace(CPU, **options))  # type: ignore[arg-type]
    assert isinstance(generator, DiffusersGenerator)
    return generator


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small spend their time on waking threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipelines")
    for family in BUILDERS:
        write_pipeline(family, root / family)
    return root


@pytest.fixture(scope="module")
def generators(folders: Path) -> dict[str, DiffusersGenerator]:
    return {family: load(folders / family) for family in BUILDERS}


@pytest.fixture
def sd15(generators: dict[str, DiffusersGenerator]) -> DiffusersGenerator:
    return generators["sd15"]


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("family", BUILDERS)
def test_each_family_draws_what_was_asked_for(generators: dict[str, DiffusersGenerator], family: str) -> None:
    generator = generators[family]
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.done, progress.total, progress.preview().shape))

    made = generator.generate(replace(SMALL, height=96), watch)
    assert made.pixels.shape == (96, 64, 3)
    assert made.pixels.dtype == np.uint8
    assert made.pixels.std() > 1
    latent_px = 2 if family == "flux" else 4
    shape = (96 // latent_px, 64 // latent_px, 3)
    assert seen == [(1, 2, shape), (2, 2, shape)]
    assert (made.steps, made.seed, made.model_id) == (2, 3, generator.model_id)
    assert made.means.device == "cpu"
    assert made.means.dtype == "float32"
    assert made.means.scheduler
    assert made.means.notes == ()


@pytest.mark.parametrize("family", BUILDERS)
def test_the_seed_the_words_and_the_steps_decide(
    generators: dict[str, DiffusersGenerator], family: str
) -> None:
    generator = generators[family]
    first = generator.generate(SMALL).pixels
    np.testing.assert_array_equal(first, generator.generate(SMALL).pixels)
    for other in (replace(SMALL, seed=4), replace(SMALL, prompt="zzz 9"), replace(SMALL, steps=1)):
        assert difference(first, generator.generate(other).pixels) > 0


@pytest.mark.parametrize("family", BUILDERS)
def test_two_at_once_draw_what_each_draws_alone(
    generators: dict[str, DiffusersGenerator], family: str
) -> None:
    """With other steps, other sizes and schedulers of one object, a shared state would mix them up."""
    generator = generators[family]
    requests = [replace(SMALL, steps=3), replace(SMALL, steps=5, seed=8, prompt="a blue boat, " * 3)]
    alone = [generator.generate(request).pixels for request in requests]
    both_begun = threading.Barrier(2, timeout=60)

    def draw(request: GenerationRequest) -> Pixels:
        def meet(progress: Progress) -> None:
            if progress.done == 1:
                both_begun.wait()

        return generator.generate(request, meet).pixels

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(draw, requests))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("family", BUILDERS)
def test_a_call_leaves_the_shared_pipeline_as_it_was(
    generators: dict[str, DiffusersGenerator], family: str
) -> None:
    """What a call writes to a scheduler, a tokenizer or the pipeline, another call would read."""
    pipeline = generators[family]._open().pipeline

    def state() -> list[object]:
        tokenizers = [
            part.backend_tokenizer for name, part in pipeline.components.items() if "tokenizer" in name
        ]
        settings = [(tokenizer.padding, tokenizer.truncation) for tokenizer in tokenizers]
        return [settings, repr(vars(pipeline.scheduler)), {k: id(v) for k, v in vars(pipeline).items()}]

    before = state()
    generators[family].generate(replace(SMALL, scheduler=None, steps=3))
    assert state() == before


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
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )


@pytest.mark.parametrize("family", BUILDERS)
def test_a_negative_prompt_counts_where_the_family_knows_one(
    generators: dict[str, DiffusersGenerator], family: str
) -> None:
    request = replace(SMALL, negative_prompt="blue")
    if not NEGATIVE[family]:
        with pytest.raises(InvalidInputError, match="no negative prompt"):
            generators[family].generate(request)
        return
    plain = generators[family].generate(replace(SMALL, guidance=4.0)).pixels
    assert difference(plain, generators[family].generate(replace(request, guidance=4.0)).pixels) > 0
    weak = generators[family].generate(replace(request, guidance=1.0))
    assert weak.means.notes == ("guidance is 1: a negative prompt counts only above 1",)


@pytest.mark.parametrize("family", BUILDERS)
def test_an_adapter_changes_the_picture_and_goes_without_a_trace(
    folders: Path, tmp_path: Path, family: str
) -> None:
    adapter = Adapter(write_lora(tmp_path, family, size=3.0))
    plain = load(folders / family).generate(SMALL)
    generator = load(folders / family, adapters=(adapter,))
    adapted = generator.generate(SMALL)
    assert difference(plain.pixels, adapted.pixels) > 0
    assert adapted.means.adapters == ("pytorch_lora_weights=1",)
    assert adapted.model_id.startswith(f"{plain.model_id}+pytorch_lora_weights=1/")
    generator.use_adapters([replace(adapter, weight=0.3)])
    weaker = generator.generate(SMALL)
    assert difference(weaker.pixels, adapted.pixels) > 0
    generator.use_adapters([])
    again = generator.generate(SMALL)
    np.testing.assert_array_equal(plain.pixels, again.pixels)
    assert again.means.adapters == ()
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
    assert after.means.adapters == before.means.adapters != ()


def test_a_damaged_adapter_is_named(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    generator = load(folders / "sd15", adapters=(Adapter(tmp_path / "broken.safetensors"),))
    with pytest.raises(CorruptStoreError, match="broken"):
        generator.generate(SMALL)


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


def test_a_scheduler_is_chosen_by_name(sd15: DiffusersGenerator) -> None:
    own = sd15.generate(SMALL)
    assert own.means.scheduler == "DDIM"
    euler = sd15.generate(replace(SMALL, scheduler="eulerdiscrete"))
    assert euler.means.scheduler == "EulerDiscrete"
    assert difference(own.pixels, euler.pixels) > 0
    np.testing.assert_array_equal(
        euler.pixels, sd15.generate(replace(SMALL, scheduler="EulerDiscreteScheduler")).pixels
    )
    np.testing.assert_array_equal(own.pixels, sd15.generate(SMALL).pixels)
    with pytest.raises(InvalidInputError, match=r"'warp'.*DDIM.*PNDM"):
        sd15.generate(replace(SMALL, scheduler="warp"))


def test_a_scheduler_of_second_order_counts_its_own_steps(sd15: DiffusersGenerator) -> None:
    seen: list[tuple[int, int]] = []
    sd15.generate(replace(SMALL, steps=3, scheduler="HeunDiscrete"), lambda p: seen.append((p.done, p.total)))
    assert seen == [(n, 5) for n in range(1, 6)]  # two evaluations a step, but one for the last


def test_defaults_come_from_the_options_and_then_from_the_family(folders: Path) -> None:
    made = load(folders / "sd15", steps=1, guidance=2.5, scheduler="EulerDiscrete").generate(
        replace(SMALL, steps=None)
    )
    assert (made.steps, made.guidance, made.means.scheduler) == (1, 2.5, "EulerDiscrete")
    family = load(folders / "flux").generate(SMALL)
    assert family.guidance == 3.5
    whole = load(folders / "sd15").generate(GenerationRequest("x", steps=1))
    assert whole.pixels.shape == (64, 64, 3)  # 16 latents of 4 px


@pytest.mark.parametrize(
    ("family", "size", "expected"),
    [
        ("sd15", 100_000, "multiple of 4 from 16 to 128"),
        ("sd15", 66, "multiple of 4 from 16 to 128"),
        ("sd15", 0, "multiple of 4"),
        ("sd15", -64, "multiple of 4"),
        ("sdxl", 12, "from 16 to 128"),
        ("sd3", 100, "multiple of 8 from 32 to 256"),
        ("flux", 516, "multiple of 4 from 64 to 512"),
    ],
)
def test_sizes_that_the_model_cannot_draw_are_refused(
    generators: dict[str, DiffusersGenerator], family: str, size: int, expected: str
) -> None:
    with pytest.raises(InvalidInputError, match=expected):
        generators[family].generate(replace(SMALL, width=size))
    with pytest.raises(InvalidInputError, match=f"height is {size}"):
        generators[family].generate(replace(SMALL, height=size))


def test_a_model_that_was_distilled_without_guidance_takes_none(tmp_path: Path) -> None:
    generator = load(write_pipeline("flux", tmp_path / "schnell", guidance_embeds=False))
    made = generator.generate(SMALL)
    assert made.guidance == 0
    with pytest.raises(InvalidInputError, match="distilled without"):
        generator.generate(replace(SMALL, guidance=2.0))
    with pytest.raises(InvalidInputError, match="distilled without"):
        load(tmp_path / "schnell", guidance=2.0).generate(SMALL)


def test_what_the_listener_raises_ends_the_work(sd15: DiffusersGenerator) -> None:
    class CancelledError(Exception):
        pass

    seen: list[int] = []

    def stop(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        sd15.generate(replace(SMALL, steps=9), stop)
    assert seen == [1, 2]
    sd15.generate(SMALL)


def test_a_prompt_that_is_cut_is_said_to_be(
    generators: dict[str, DiffusersGenerator],
) -> None:
    long = replace(SMALL, prompt="ab " * 60)  # a token a letter, and two around them
    (note,) = generators["sd15"].generate(long).means.notes
    assert note == "the prompt has 122 tokens: the model read the first 77"
    assert generators["flux"].generate(long).means.notes == ()  # T5 reads 512


def test_a_picture_that_the_checker_flags_is_refused(tmp_path: Path) -> None:
    folder = write_pipeline("sd15", tmp_path / "strict", safety_checker=tiny_safety_checker(flags=True))
    seen: list[tuple[int, ...]] = []
    with pytest.raises(UnsafePictureError, match="diffusers:strict objects") as caught:
        load(folder).generate(replace(SMALL, width=128), lambda p: seen.append(p.preview().shape))
    assert caught.value.code == "unsafe_picture"
    assert seen == [(8, 16, 3)] * 2  # coarser than the 16 x 32 latents: nobody has checked it yet


def test_a_checker_that_agrees_is_named_and_so_is_none(tmp_path: Path, sd15: DiffusersGenerator) -> None:
    folder = write_pipeline("sd15", tmp_path / "mild", safety_checker=tiny_safety_checker(flags=False))
    checked = load(folder).generate(SMALL)
    plain = sd15.generate(SMALL)
    assert checked.means.safety_checked
    assert not plain.means.safety_checked
    assert checked.pixels.shape == plain.pixels.shape


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
    assert made.means.notes == ("memory ran out at 64 x 64 px: made again, decoded in tiles",)
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
    assert generator.generate(SMALL).means.notes == ()


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
    assert rough.means.dtype == "bfloat16"
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
    assert (made.means.device, made.means.offload) == ("cuda", offload)


@pytest.mark.gpu
def test_out_of_memory_on_a_gpu_is_tried_again_with_offload(folders: Path) -> None:
    generator = load(folders / "sd15", device="cuda")
    with small_memory(generator, lambda vae: vae.use_tiling):
        made = generator.generate(SMALL)
    assert made.means.offload == "model"
    assert made.means.notes == (
        "memory ran out at 64 x 64 px: made again, decoded in tiles, with model offload",
    )
    again = generator.generate(SMALL)
    assert (again.means.offload, again.means.notes) == ("none", ())
    assert next(generator._open().pipeline.unet.parameters()).device.type == "cuda"
