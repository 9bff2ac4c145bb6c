"""The builtin generator's run-time: mathematics, requests, the shipped folder."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import CorruptStoreError, InvalidInputError, UnavailableError
from indexer.imaging.decode import Limits, decode
from indexer.imaging.enlarge import enlarge, to_png
from rerank.generate.builtin.flow import euler, noise, preconditioning, times
from rerank.generate.builtin.folder import load_pipeline, read_folder
from rerank.generate.builtin.generator import FOLDER, BuiltinGenerator
from rerank.generate.builtin.latents import patches, to_bytes
from rerank.generate.request import GenerationRequest, Progress
from tests.support.tiny_generator import random_codec


@pytest.fixture(scope="module")
def generator() -> BuiltinGenerator:
    return BuiltinGenerator(threads=1)


def test_latents_that_keep_every_component_lose_nothing() -> None:
    codec = random_codec(4, 48)
    pixel_NSS3 = np.random.default_rng(1).uniform(-1, 1, (2, 8, 12, 3)).astype(np.float32)
    latent_NKHW = codec.encode(pixel_NSS3)
    assert latent_NKHW.shape == (2, 48, 2, 3)
    np.testing.assert_allclose(codec.decode(latent_NKHW), pixel_NSS3, atol=1e-5)


def test_latents_survive_decoding_and_encoding() -> None:
    codec = random_codec(4, 7)
    latent_NKHW = np.random.default_rng(2).standard_normal((3, 7, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(codec.encode(codec.decode(latent_NKHW)), latent_NKHW, atol=1e-5)


def test_a_patch_is_the_square_at_its_place() -> None:
    pixel_NSS3 = np.arange(1 * 4 * 6 * 3, dtype=np.float32).reshape(1, 4, 6, 3)
    patch_NHWP = patches(pixel_NSS3, 2)
    assert patch_NHWP.shape == (1, 2, 3, 12)
    np.testing.assert_array_equal(patch_NHWP[0, 1, 2], pixel_NSS3[0, 2:4, 4:6].ravel())


@pytest.mark.parametrize("t", [0.05, 0.5, 0.9, 1.0])
def test_preconditioning_is_the_best_linear_guess_at_size_one(t: float) -> None:
    """Regression of x_0 on x_t over many draws gives c_skip; what is left over has the size c_out."""
    sigma, rng = 0.5, np.random.default_rng(3)
    clean, drawn = sigma * rng.standard_normal(400_000), rng.standard_normal(400_000)
    x = (1 - t) * clean + t * drawn
    into, skip, out = preconditioning(t, sigma)
    assert into * x.std() == pytest.approx(1, rel=0.01)
    assert skip == pytest.approx(np.mean(x * clean) / np.mean(x * x), abs=0.01)
    assert out == pytest.approx(np.std(clean - skip * x), rel=0.01)


def test_euler_carries_noise_to_gaussian_data() -> None:
    """Where x_0 ~ N(0, σ²) the exact denoiser is known, and the flow maps x_1 to σ x_1."""
    sigma = 0.5
    start = noise(0, (2, 3, 3))

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        return np.asarray(preconditioning(t, sigma)[1] * x)

    np.testing.assert_allclose(euler(start, times(2000), denoise), sigma * start, atol=0.005)


@given(steps=st.integers(1, 9), seed=st.integers(0, 2**63 - 1))
def test_euler_ends_where_a_certain_denoiser_points(steps: int, seed: int) -> None:
    goal = np.full((1, 1, 2, 2), 0.7, np.float32)
    told: list[int] = []
    found = euler(
        noise(seed, (1, 2, 2)), times(steps), lambda _x, _t: goal, lambda done, _clean: told.append(done)
    )
    np.testing.assert_allclose(found, goal, atol=1e-5)
    assert told == list(range(1, steps + 1))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"prompt": " "}, "empty"),
        ({"prompt": "x" * 10_000}, "10000 characters"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"prompt": "cat", "negative_prompt": "\0"}, "NUL"),
        ({"prompt": "cat", "steps": -1}, "steps is -1"),
        ({"prompt": "cat", "steps": 1_000_000}, "expected 1 to"),
        ({"prompt": "cat", "guidance": float("nan")}, "guidance is nan"),
        ({"prompt": "cat", "seed": -1}, "seed is -1"),
    ],
)
def test_requests_that_make_no_sense_are_refused(wrong: dict[str, object], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        GenerationRequest(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [{"width": 512}, {"height": 100_000}, {"scheduler": "DDIM"}])
def test_other_sizes_and_schedulers_are_refused(
    generator: BuiltinGenerator, other: dict[str, object]
) -> None:
    with pytest.raises(InvalidInputError, match="builtin generator"):
        generator.generate(GenerationRequest("cat", steps=1, **other))  # type: ignore[arg-type]


def test_the_own_size_may_be_named(generator: BuiltinGenerator) -> None:
    made = generator.generate(GenerationRequest("cat", steps=1, width=64, height=64))
    assert made.pixels.shape == (64, 64, 3)
    assert made.info.scheduler == "Euler"


def test_the_same_request_makes_the_same_picture(generator: BuiltinGenerator) -> None:
    request = GenerationRequest("a cat", seed=5, steps=4)
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(generator.generate, [request] * 3)
    assert first.pixels.shape == (64, 64, 3)
    assert first.pixels.dtype == np.uint8
    for other in others:
        np.testing.assert_array_equal(first.pixels, other.pixels)


def test_the_prompt_the_seed_and_the_guidance_matter(generator: BuiltinGenerator) -> None:
    def made(prompt: str, seed: int = 0, guidance: float | None = None) -> np.ndarray:
        request = GenerationRequest(prompt, seed=seed, steps=8, guidance=guidance)
        return generator.generate(request).pixels.astype(float)

    cat = made("a cat")
    for other in (made("a red car"), made("a cat", seed=1), made("a cat", guidance=0.0)):
        assert np.abs(cat - other).mean() > 5
    # Without guidance nothing is asked for: the prompt makes no difference then.
    np.testing.assert_array_equal(made("a cat", guidance=0.0), made("a red car", guidance=0.0))


def test_the_background_that_was_asked_for_is_there(generator: BuiltinGenerator) -> None:
    def corner(prompt: str) -> np.ndarray:
        pixels = generator.generate(GenerationRequest(prompt)).pixels
        return np.asarray(pixels[:2, :2].reshape(-1, 3).mean(axis=0))

    assert corner("an apple, on a white background").min() > 225
    assert corner("an apple, on a black background").max() < 60


def test_emoji_and_other_scripts_are_only_words(generator: BuiltinGenerator) -> None:
    assert generator.generate(GenerationRequest("🐱 猫 ѣ" * 300, steps=1)).pixels.shape == (64, 64, 3)


def test_progress_ends_with_the_picture_itself(generator: BuiltinGenerator) -> None:
    seen: list[Progress] = []
    made = generator.generate(GenerationRequest("a house", steps=3), seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(seen[-1].preview(), made.pixels)
    assert (made.steps, made.seed, made.model_id) == (3, 0, generator.model_id)


def test_what_the_listener_raises_ends_the_work(generator: BuiltinGenerator) -> None:
    seen: list[int] = []

    class CancelledError(Exception):
        pass

    def stop(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        generator.generate(GenerationRequest("a house", steps=10), stop)
    assert seen == [1, 2]


def test_torch_and_onnx_make_the_same_picture(generator: BuiltinGenerator) -> None:
    """One file of weights, two runtimes: no colour differs by more than 2 of 255."""
    pipeline = load_pipeline(FOLDER)
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a dog, flat style", "a star, on a dark blue background"]
    start = torch.from_numpy(np.concatenate([noise(seed, read_folder(FOLDER).latent_KHW) for seed in (7, 8)]))
    pictures = pipeline(prompts, latents=start, num_inference_steps=5, guidance_scale=1.7)
    assert len(np.unique(pictures)) > 50
    for seed, prompt, picture in zip((7, 8), prompts, pictures, strict=True):
        request = GenerationRequest(prompt, seed=seed, steps=5, guidance=1.7)
        assert np.abs(generator.generate(request).pixels.astype(int) - picture).max() <= 2


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no generator here"):
        BuiltinGenerator(folder=tmp_path / "none").generate(GenerationRequest("cat"))


@pytest.mark.parametrize("name", ["model_index.json", "vae/diffusion_pytorch_model.safetensors"])
def test_a_damaged_folder_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(FOLDER, folder)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(CorruptStoreError, match=str(folder)):
        read_folder(folder)


def test_weights_that_were_cut_short_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(FOLDER, folder)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CorruptStoreError):
        BuiltinGenerator(folder=folder).generate(GenerationRequest("cat"))


def test_a_small_picture_is_shown_larger_with_its_colours() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    large = enlarge(pixels, 80)
    assert large.shape == (40, 80, 3)
    np.testing.assert_array_equal(large[20, [5, 75]], [[0] * 3, [200] * 3])
    np.testing.assert_array_equal(decode(to_png(large), Limits.from_memory()).pixels, large)


def test_colours_out_of_range_are_clipped() -> None:
    assert to_bytes(np.array([-1.2, -1, 0, 1, 3], np.float32)).tolist() == [0, 0, 128, 255, 255]


def test_the_shipped_folder_names_no_code_but_kallos_and_diffusers() -> None:
    index = json.loads((FOLDER / "model_index.json").read_text())
    parts = {value[0] for value in index.values() if isinstance(value, list)}
    assert parts == {"diffusers", "rerank.generate.builtin.torch_pipeline"}


def test_a_folder_of_an_older_layout_loads(tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(FOLDER, folder)
    index = folder / "model_index.json"
    index.write_text(
        index.read_text().replace("rerank.generate.builtin.torch_pipeline", "rerank.generate.pipeline")
    )
    assert load_pipeline(folder).config.name == load_pipeline(FOLDER).config.name
