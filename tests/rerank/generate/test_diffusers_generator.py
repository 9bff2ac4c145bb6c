"""Pipelines of each family with random weights, through the code that runs published ones."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import (
    InvalidInputError,
    UnsafePictureError,
)
from rerank.generate.diffusers.generator import DiffusersGenerator
from rerank.generate.request import GenerationRequest, Pixels, Progress
from tests.support.drawing import SMALL, difference, load
from tests.support.processes import PATIENCE_S
from tests.support.tiny_pipelines import tiny_safety_checker, write_pipeline
from training.policies.tiny import BUILDERS

NEGATIVE = {"sd15": True, "sdxl": True, "sd3": True, "flux": False}


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
    assert made.info.device == "cpu"
    assert made.info.dtype == "float32"
    assert made.info.scheduler
    assert made.info.warnings == ()


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
    both_begun = threading.Barrier(2, timeout=PATIENCE_S)

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
    assert weak.info.warnings == ("guidance is 1: a negative prompt counts only above 1",)


def test_a_scheduler_is_chosen_by_name(sd15: DiffusersGenerator) -> None:
    own = sd15.generate(SMALL)
    assert own.info.scheduler == "DDIM"
    euler = sd15.generate(replace(SMALL, scheduler="eulerdiscrete"))
    assert euler.info.scheduler == "EulerDiscrete"
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
    assert (made.steps, made.guidance, made.info.scheduler) == (1, 2.5, "EulerDiscrete")
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
    (note,) = generators["sd15"].generate(long).info.warnings
    assert note == "the prompt has 122 tokens: the model read the first 77"
    assert generators["flux"].generate(long).info.warnings == ()  # T5 reads 512


def test_a_picture_that_the_checker_flags_is_refused(tmp_path: Path) -> None:
    folder = write_pipeline("sd15", tmp_path / "strict", safety_checker=tiny_safety_checker(flags=True))
    seen: list[tuple[int, ...]] = []
    with pytest.raises(UnsafePictureError, match="diffusers:strict objects") as caught:
        load(folder).generate(replace(SMALL, width=128), lambda p: seen.append(p.preview().shape))
    assert caught.value.code == "unsafe_picture"
    assert seen == [(8, 16, 3)] * 2  # coarser than the 16 x 32 latents: it is not checked yet


def test_a_checker_that_agrees_is_named_and_so_is_none(tmp_path: Path, sd15: DiffusersGenerator) -> None:
    folder = write_pipeline("sd15", tmp_path / "mild", safety_checker=tiny_safety_checker(flags=False))
    checked = load(folder).generate(SMALL)
    plain = sd15.generate(SMALL)
    assert checked.info.safety_checked
    assert not plain.info.safety_checked
    assert checked.pixels.shape == plain.pixels.shape
