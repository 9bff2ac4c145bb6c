"""The builtin generator's recipe: configuration, data, training, export, and the shipped result."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from indexer.errors import InvalidInputError
from rerank.generate.builtin.flow import preconditioning
from rerank.generate.builtin.folder import WEIGHTS, load_pipeline
from rerank.generate.builtin.generator import FOLDER, BuiltinGenerator
from rerank.generate.request import GenerationRequest
from tests.support.tiny_generator import random_codec, tiny_config
from training.config import read_config
from training.generator.config import RECIPE, GeneratorConfig
from training.generator.data import (
    caption,
    composite,
    fit_codec,
    hold_out,
    prompts_of,
    training_prompts,
)
from training.generator.export import save_folder
from training.generator.materials import IconSet, draw
from training.generator.model import build, follow, learning_rate, predict
from training.generator.prepare import ARRAYS, load_prepared
from training.generator.recipe import run
from training.generator.train import batch_loss, ema_weights, latest_checkpoint, start, train

pytestmark = pytest.mark.slow

MOST_BYTES = 10_000_000


def write_data(folder: Path, config: GeneratorConfig) -> None:
    """What `prepare` would write, of random numbers."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    side = config.data.side_px // config.latents.patch_px
    arrays = {
        "latent_MKHW": rng.standard_normal((10, config.latents.channels, side, side)).astype(np.float16),
        "text_M": rng.integers(1, 6, 10),
        "token_ULE": rng.standard_normal((6, config.model.tokens, 384)).astype(np.float16),
        "pooled_UE": rng.standard_normal((6, 384)).astype(np.float16),
    }
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", np.asarray(arrays[name]))


def trained(folder: Path, config: GeneratorConfig) -> dict[str, np.ndarray]:
    return load_file(train(config, folder))


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    config = tiny_config(steps=2)
    found = []
    for name in ("a", "b", "c"):
        write_data(tmp_path / name, config)
        found.append(trained(tmp_path / name, replace(config, seed=1) if name == "c" else config))
    for key, tensor in found[0].items():
        np.testing.assert_array_equal(tensor, found[1][key])
    assert any(not np.array_equal(tensor, found[2][key]) for key, tensor in found[0].items())
    started = dict(build(config).named_parameters())
    assert len(found[0]) == 4 * len(started)


def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    config = tiny_config(steps=4)
    write_data(tmp_path / "whole", config)
    whole = trained(tmp_path / "whole", config)
    write_data(tmp_path / "resumed", config)
    shutil.copy(tmp_path / "whole/checkpoint-000002.safetensors", tmp_path / "resumed")
    resumed = trained(tmp_path / "resumed", config)
    assert latest_checkpoint(tmp_path / "resumed")[0] == 4
    for key, tensor in whole.items():
        np.testing.assert_array_equal(tensor, resumed[key], err_msg=key)


def test_two_processes_take_the_mean_of_their_gradients(tmp_path: Path) -> None:
    config = tiny_config(steps=2, processes=2)
    write_data(tmp_path / "run", config)
    command = [sys.executable, "-m", "tests.support.train_tiny", str(tmp_path / "run"), "2"]
    subprocess.run(command, check=True, capture_output=True, cwd=RECIPE.parents[2])
    found = load_file(latest_checkpoint(tmp_path / "run")[1])
    state, prepared = start(config), load_prepared(tmp_path / "run")
    for step in range(2):
        state.optimizer.zero_grad()
        torch.stack(
            [batch_loss(state.unet, prepared, config, step, rank) for rank in (0, 1)]
        ).mean().backward()
        torch.nn.utils.clip_grad_norm_(state.unet.parameters(), config.training.clip_norm)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config.training, step)
        state.optimizer.step()
    for name, weight in state.unet.named_parameters():
        np.testing.assert_allclose(found[f"weight.{name}"], weight.detach(), atol=2e-5, err_msg=name)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    config = tiny_config(steps=150, batch=8, warmup_steps=5, checkpoint_every=150)
    write_data(tmp_path / "run", config)
    train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100, 150]
    assert rows[-1]["loss"] < 0.95 * rows[0]["loss"]


def test_a_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(asdict(tiny_config()), indent=1))
    with pytest.raises(InvalidInputError, match="another configuration"):
        run(tiny_config(steps=7), tmp_path, tmp_path, tmp_path / "out")


def test_the_exported_graph_is_the_network(tmp_path: Path) -> None:
    """Against torch on the weights as rounded; the graph itself holds no weights."""
    config = tiny_config()
    torch.manual_seed(0)
    unet = build(config)
    with torch.no_grad():
        for weight in unet.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    save_folder(config, unet.state_dict(), random_codec(4, 8), tmp_path / "out")
    assert (tmp_path / "out/unet/model.onnx").stat().st_size < 400_000
    request = GenerationRequest("a tree", seed=2, steps=3, guidance=1.5)
    made = BuiltinGenerator(folder=tmp_path / "out", threads=1).generate(request)
    pipeline = load_pipeline(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    start = np.random.default_rng(2).standard_normal((1, 8, 4, 4), dtype=np.float32)
    other = pipeline("a tree", latents=torch.from_numpy(start), num_inference_steps=3, guidance_scale=1.5)[0]
    assert made.pixels.shape == (16, 16, 3)
    assert made.pixels.std() > 10
    assert np.abs(made.pixels.astype(int) - other).max() <= 2
    for name, tensor in pipeline.unet.state_dict().items():
        torch.testing.assert_close(tensor.float(), unet.state_dict()[name].half().float(), atol=0, rtol=0)


def test_f_is_the_residual_at_size_one() -> None:
    """`predict` feeds c_in x: of a network that repeats its input the output is c_in x."""

    def echo(x: torch.Tensor, *_rest: object, **_more: object) -> tuple[torch.Tensor]:
        return (x,)

    x_BKHW, t_B = torch.randn(3, 2, 4, 4), torch.tensor([0.1, 0.5, 1.0])
    nothing = torch.zeros(3, 1, 384), torch.zeros(3, 384)
    found = predict(echo, x_BKHW, t_B, *nothing, 0.5)
    for i, t in enumerate((0.1, 0.5, 1.0)):
        torch.testing.assert_close(found[i], preconditioning(t, 0.5)[0] * x_BKHW[i])


def test_the_learning_rate_rises_stays_and_falls() -> None:
    training = replace(tiny_config().training, steps=100, warmup_steps=10, decay_share=0.2, learning_rate=2.0)
    rates = [learning_rate(training, step) for step in range(100)]
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11))
    np.testing.assert_allclose(rates[10:80], 2.0)
    np.testing.assert_allclose(rates[80:], 2.0 * np.arange(20, 0, -1) / 20)


def test_the_moving_average_follows() -> None:
    ema, weight = {"w": torch.tensor([1.0, 2.0])}, torch.tensor([3.0, 6.0])
    follow(ema, [("w", weight)], 0.75)
    assert ema["w"].tolist() == [1.5, 3.0]


def test_nothing_held_out_is_shown() -> None:
    config = read_config(GeneratorConfig, RECIPE)
    held = hold_out(config)
    blank = np.zeros((1, 1, 4), np.uint8)
    drawings = {(concept, style): blank for concept in config.concepts for style in config.data.styles}
    prompts = training_prompts(config, drawings)
    assert not held.styles & {(prompt.concept, prompt.style) for prompt in prompts}
    assert not held.backgrounds & {(prompt.concept, prompt.background) for prompt in prompts}
    share = config.data.held_out_pairs
    assert len(held.styles) == round(share * len(drawings))
    assert len(held.backgrounds) == round(share * len(config.concepts) * (len(config.data.backgrounds) - 1))
    assert len({concept for concept, _ in held.styles}) == len(held.styles)
    assert {prompt.concept for prompt in prompts} == set(config.concepts)


def test_captions_say_what_is_in_the_picture() -> None:
    config = read_config(GeneratorConfig, RECIPE)
    prompts = list(prompts_of(config, "cat-face", "flat", hold_out(config)))
    assert len(prompts) == config.data.captions_per_picture
    for prompt in prompts:
        assert any(word in prompt.text for word in config.concepts["cat-face"])
        assert (f"on a {prompt.background} background" in prompt.text) or (
            prompt.background == config.data.plain_background and "background" not in prompt.text
        )
        assert not any(style in prompt.text for style in config.data.styles if style != "flat")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (("apple", None, None, 0), "apple"),
        (("apple", None, None, 1), "an apple"),
        (("grapes", "flat", "pink", 1), "a flat drawing of grapes, on a pink background"),
        (("cat", "cartoon", None, 2), "a picture of a cat, cartoon style"),
    ],
)
def test_captions_are_english(asked: tuple[str, str | None, str | None, int], text: str) -> None:
    assert caption(*asked) == text


def test_a_drawing_lies_over_its_background() -> None:
    """Opaque stays, transparent is the paper, half is half of each (colours are premultiplied)."""
    drawing = np.array([[[10, 20, 30, 255], [0, 0, 0, 0], [100, 0, 50, 128]]], np.uint8)
    found = (composite(drawing, "#40ff00") + 1) * 127.5
    rest = 1 - 128 / 255
    expected = np.array([[10, 20, 30], [64, 255, 0], [100 + rest * 64, rest * 255, 50]])
    np.testing.assert_allclose(found[0], expected, atol=1e-3)


def test_icons_are_drawn_inside_their_margin() -> None:
    body = '<rect width="10" height="10" fill="#f00"/>'
    icons = IconSet({"box": {"body": body}}, {"crate": {"parent": "box"}}, 10, "MIT", "nobody")
    drawn = draw(icons, ["box", "crate", "none"], 12, 3)
    assert set(drawn) == {"box", "crate"}
    expected = np.zeros((12, 12, 4), np.uint8)
    expected[3:9, 3:9] = [255, 0, 0, 255]
    np.testing.assert_array_equal(drawn["crate"], expected)


def test_the_codec_keeps_the_largest_components() -> None:
    """Pictures of rank 2 survive two components; their latents have the size that was asked for."""
    config = tiny_config()
    rng = np.random.default_rng(4)
    basis_2P = rng.standard_normal((2, 48))
    patch_NHWP = (rng.standard_normal((50, 4, 4, 2)) * [3, 1]) @ basis_2P
    pixel_NSS3 = patch_NHWP.reshape(50, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(50, 16, 16, 3)
    codec = fit_codec(replace(config.latents, channels=2), pixel_NSS3.astype(np.float32), 0.5)
    latent_NKHW = codec.encode(pixel_NSS3.astype(np.float32))
    np.testing.assert_allclose(codec.decode(latent_NKHW), pixel_NSS3, atol=1e-3)
    assert np.sqrt(np.mean(latent_NKHW**2)) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("sead = 1", "unknown sead"),
        ('seed = "0"', "expected int"),
        ("seed = true", "expected int"),
        ("[training]\nspeed = 3", "unknown speed"),
    ],
)
def test_configurations_that_say_something_else_are_refused(tmp_path: Path, line: str, word: str) -> None:
    text = RECIPE.read_text()
    if line.startswith("["):
        text = text.replace("[training]", line)
    elif line.startswith("seed"):
        text = text.replace("seed = 0", line)
    else:
        text = f"{line}\n{text}"
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=word):
        read_config(GeneratorConfig, tmp_path / "c.toml")


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(RECIPE.read_text().replace("sigma_data = 0.5", ""))
    with pytest.raises(InvalidInputError, match="sigma_data is missing"):
        read_config(GeneratorConfig, tmp_path / "c.toml")


def test_the_shipped_weights_come_from_the_committed_recipe() -> None:
    config = read_config(GeneratorConfig, RECIPE)
    record = json.loads((FOLDER / "training.json").read_text())
    assert record["config"] == json.loads(json.dumps(asdict(config)))
    assert record["steps"] == config.training.steps
    assert (FOLDER / "unet" / WEIGHTS).stat().st_size <= MOST_BYTES
    shapes = {name: tensor.shape for name, tensor in load_file(FOLDER / "unet" / WEIGHTS).items()}
    assert shapes == {name: tuple(weight.shape) for name, weight in build(config).state_dict().items()}


def test_the_card_agrees_with_recipe_and_record() -> None:
    config = read_config(GeneratorConfig, RECIPE)
    record = json.loads((FOLDER / "training.json").read_text())
    card = (FOLDER / "README.md").read_text()
    assert f"{config.training.steps} steps" in card
    assert f"seed {config.seed}, {record['cpu_s'] / 60:.0f} CPU minutes" in card
    for words in config.concepts.values():
        assert words[0] in card
    for style, name in config.data.styles.items():
        assert f"| {style} | `@iconify-json/{name}` |" in card


def test_card_and_page_quote_what_was_measured() -> None:
    measured = json.loads((RECIPE.parents[2] / "docs/benchmarks/generator.json").read_text())
    for page in (FOLDER / "README.md", RECIPE.parents[2] / "docs/generator.md"):
        text = page.read_text()
        for case in measured["cases"].values():
            made, real = case["made"], case["real"]
            shares = (made["top_1"], made["top_5"], real["top_1"], real["top_5"], made["background"])
            assert " | ".join([str(made["pictures"]), *(f"{share:.1f}" for share in shares)]) in text
        for row in measured["nearest"].values():
            assert f"| {row['feature']:.3f} | {row['pixel']:.1f} |" in text
        assert " | ".join(f"{x:.1f}" for x in measured["vendi_of_concepts"].values()) in text
        assert " | ".join(f"{x:.2f}" for x in measured["vendi_of_seeds"].values()) in text


def test_checkpoints_hold_an_average(tmp_path: Path) -> None:
    config = tiny_config(steps=2)
    write_data(tmp_path / "run", config)
    path = train(config, tmp_path / "run")
    raw = load_file(path)
    averaged = ema_weights(path)
    assert set(averaged) == set(build(config).state_dict())
    assert any(not np.array_equal(raw[f"weight.{name}"], averaged[name].numpy()) for name in averaged)
