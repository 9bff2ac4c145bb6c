"""The law of `rerank.generate.request.Generator`, on every implementation."""

import atexit
import functools
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import InvalidInputError
from rerank.generate.diffusers.options import GeneratorOptions
from rerank.generate.registry import load_generator
from rerank.generate.request import GenerationRequest, Generator, Progress
from tests.support.tiny_pipelines import write_pipeline

REQUEST = GenerationRequest("a red kite", seed=2, steps=3)


@functools.cache
def builtin() -> Generator:
    return load_generator("builtin", threads=1)


@functools.cache
def diffusers() -> Generator:
    holder = tempfile.TemporaryDirectory(prefix="kallos-tiny-pipeline-")
    atexit.register(holder.cleanup)
    folder = write_pipeline("sd15", Path(holder.name) / "tiny")
    return load_generator(f"diffusers:{folder}", options=GeneratorOptions(device="cpu", steps=4))


IMPLEMENTATIONS: dict[str, Callable[[], Generator]] = {"builtin": builtin, "diffusers": diffusers}


@pytest.fixture(params=IMPLEMENTATIONS)
def generator(request: pytest.FixtureRequest) -> Generator:
    return IMPLEMENTATIONS[request.param]()


def test_the_answer_names_what_made_it(generator: Generator) -> None:
    made = generator.generate(REQUEST)
    assert made.pixels.dtype == np.uint8
    assert made.pixels.ndim == 3
    assert (made.seed, made.steps, made.model_id) == (2, 3, generator.model_id)
    assert made.info.scheduler
    assert generator.licence


def test_answers_repeat_each_other_when_given_back(generator: Generator) -> None:
    """What an answer says is enough to draw it again."""
    made = generator.generate(replace(REQUEST, steps=None))
    height, width, _ = made.pixels.shape
    again = GenerationRequest(
        REQUEST.prompt,
        seed=made.seed,
        steps=made.steps,
        guidance=made.guidance,
        width=width,
        height=height,
    )
    np.testing.assert_array_equal(generator.generate(again).pixels, made.pixels)


def test_calls_at_once_do_not_see_each_other(generator: Generator) -> None:
    requests = [replace(REQUEST, seed=seed, steps=2 + seed) for seed in range(3)]
    alone = [generator.generate(request).pixels.astype(int) for request in requests]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(generator.generate, requests))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - other.pixels).max() <= 1


def test_progress_counts_to_the_end_with_pictures(generator: Generator) -> None:
    seen: list[tuple[int, int]] = []

    def watch(progress: Progress) -> None:
        preview = progress.preview()
        assert preview.dtype == np.uint8
        assert preview.shape[2] == 3
        seen.append((progress.done, progress.total))

    generator.generate(REQUEST, watch)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_what_the_listener_raises_is_passed_on(generator: Generator) -> None:
    class CancelledError(Exception):
        pass

    def stop(_progress: Progress) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        generator.generate(REQUEST, stop)


@pytest.mark.parametrize("wrong", [{"width": 100_000}, {"height": -8}, {"scheduler": "warp"}])
def test_what_it_cannot_do_is_said(generator: Generator, wrong: dict[str, object]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InvalidInputError, match=f"{name} is {value!r}: "):
        generator.generate(replace(REQUEST, **wrong))  # type: ignore[arg-type]
