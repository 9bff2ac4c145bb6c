"""The three commands on the builtin generator, and the configurations that are shipped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from indexer.errors import InvalidInputError
from tests.support.toy_run import Brightness, pixels
from training.cli import COMMANDS, make_app
from training.config import read_config
from training.policies.options import PolicyOptions
from training.policy_gradient.evaluation import RewardSet
from training.run_folder import read_rows
from training.spro.config import SproConfig
from training.spro.files import read_object, round_folder
from training.spro.image import Winners, tune
from training.spro.rounds import Parts, Rounds
from training.spro.wiring import captions_of, load_generator, load_guider, load_painter

app = make_app(COMMANDS)
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SMALL = """
objective = "aesthetic"

[prompts]
source = "{captions}"
held_out = 0.5

[guider]
kind = "text"
model = "local:{model}"
most_tokens = 12
adapter = {{ rank = 4, alpha = 4.0, targets = ["lm_head"] }}

[picture]
options = {{ device = "cpu", guidance = 1.5 }}
steps = 2

[rounds]
most = 1
captions = 2
temperatures = [1.0]
repeats = 4
fidelity = -1.0
weak_gain = "none"
least_rise = -1e9

[preference]
learning_rate = 0.01
epochs = 1

[image]
epochs = 1
adapter = {{ rank = 2, alpha = 2.0, targets = ["to_q"] }}

[evaluation]
captions = 2
seeds = 1
resamples = 100
shown = 2

[reward]
name = "colourfulness"

[[held_out]]
name = "jpeg"
"""


@pytest.fixture
def config(tmp_path: Path, text_model: Path) -> Path:
    captions, path = tmp_path / "captions.txt", tmp_path / "spro.toml"
    captions.write_text(
        "".join(f"a {word}\n" for word in ("sun", "cat", "house", "tree", "bus", "moon", "fox"))
    )
    path.write_text(SMALL.format(captions=captions, model=text_model))
    return path


def test_prompt_image_evaluate_and_again(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ["--config", str(config), "--seed", "1", "--out", str(out)]
    early = CliRunner().invoke(app, ["spro-image", *given])
    assert isinstance(early.exception, InvalidInputError)
    assert "run spro-prompt first" in str(early.exception)
    for command in ("spro-prompt", "spro-image", "spro-prompt"):
        done = CliRunner().invoke(app, [command, *given])
        assert done.exit_code == 0, done.exception
    found = CliRunner().invoke(app, ["spro-evaluate", *given])
    assert found.exit_code == 0, found.exception
    names = ["plain caption", "untrained Guider", "round 1", "SPRO-Image", "SPRO-MM"]
    assert [line.split(" | ")[0].removeprefix("| ") for line in found.stdout.splitlines()[2:]] == names
    table = json.loads((out / "evaluation/table.json").read_text())
    assert [row["name"] for row in table["rows"]] == names
    assert table["rows"][0]["gain"]["value"] == 0
    assert (out / "evaluation/sheet.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "evaluation/rounds.png").is_file()
    card = json.loads((out / "image/card.json").read_text())
    assert card["kind"] == "spro-image"
    assert list(card["files"]) == ["adapter/pytorch_lora_weights.safetensors"]
    told = json.loads((out / "prompt/card.json").read_text())
    assert told["sees_pictures"] is False
    assert list(told["files"]) == ["round-1/guider.safetensors"]


def test_a_held_out_reward_that_is_trained_on_is_refused(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace('name = "jpeg"', 'name = "colourfulness"'))
    found = CliRunner().invoke(app, ["spro-prompt", "--config", str(config), "--out", str(tmp_path / "run")])
    assert isinstance(found.exception, InvalidInputError)


def test_the_shipped_cpu_configuration_fits_its_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = read_config(SproConfig, Path("configs/spro_cpu.toml"))
    trained, held_out = captions_of(settings)
    assert (len(trained), len(held_out)) == (settings.rounds.captions, settings.evaluation.captions)
    assert not set(trained) & set(held_out)


def test_the_gpu_configuration_runs_on_random_weights_of_such_architectures(
    tmp_path: Path, vision_model: Path
) -> None:
    published = read_config(SproConfig, ROOT / "configs/spro_gpu.toml")
    small = replace(
        published,
        guider=replace(
            published.guider, model=str(vision_model), device="cpu", precision="float32", most_tokens=3
        ),
        picture=replace(
            published.picture, generator="tiny:sdxl", options=PolicyOptions(device="cpu"), steps=2
        ),
    )
    painter = load_painter(small.picture)
    reward_set = RewardSet(Brightness(), {}, pixels)
    parts = Parts(load_guider(small, 0), painter, reward_set, ("a cat", "a bus"))
    Rounds(parts, small, tmp_path, seed=0).run()
    told = read_rows(round_folder(tmp_path, 1) / "told.jsonl")
    # Noise keeps to no form: every try is on record, and there is nothing to learn from.
    assert [len(row["failures"]) for row in told] == [small.rounds.tries] * 2 * 4 * small.rounds.repeats
    assert read_object(round_folder(tmp_path, 1) / "round.json")["stopped"] == "no pair was kept"
    policy = load_generator(small.picture, small.image.adapter, 0, guided=False)
    before = [weight.detach().clone() for _, weight in policy.trainable()]
    latent = painter.paint(["a cat", "a bus"], [[1], [2]]).flatten(0, 1)
    tune(policy, Winners(("a cat", "a bus"), latent), replace(small.image, epochs=1), (0,))
    assert any(
        not torch.equal(one, other) for one, (_, other) in zip(before, policy.trainable(), strict=True)
    )
