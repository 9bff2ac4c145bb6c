"""A run is compared with what is in service: by the served pictures, paired, on held-out prompts."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from indexer.blobs.deployed import DeployedStore
from indexer.errors import InvalidInputError
from rerank.generate.builtin.generator import BuiltinGenerator
from rerank.generate.registry import load_generator
from rerank.generate.request import GenerationRequest
from service.generation.deploy import Deployer
from tests.support.runs import BASE, write_run
from training.bootstrap import bootstrap
from training.cli import COMMANDS, make_app
from training.prompts.prompt_set import PromptsConfig, load_prompts
from training.rewards.config import RewardConfig
from training.rewards.registry import RewardLoader

app = make_app(COMMANDS)
pytestmark = pytest.mark.slow

PROMPTS, SEEDS = 4, 2
CONFIG = {
    "reward": asdict(RewardConfig("colourfulness")),
    "held_out": [asdict(RewardConfig("jpeg")), asdict(RewardConfig("agreement"))],
    "prompts": asdict(PromptsConfig()),
}


def _evaluate(folder: Path, *more: str) -> dict[str, object]:
    arguments = ["evaluate", "run", str(folder), "--prompts", str(PROMPTS), "--seeds", str(SEEDS), *more]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads((folder / "comparison.json").read_text())
    return found


def test_the_figures_are_those_of_the_pictures_that_are_served(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", config=CONFIG)
    found = _evaluate(tmp_path / "run")
    assert (found["run"], found["against"]) == (run.id, BASE)
    reward = RewardLoader().load(RewardConfig("colourfulness"))
    prompts = [prompt.text for prompt in load_prompts(PromptsConfig()).held_out][:PROMPTS]
    asked = [(prompt, seed) for prompt in prompts for seed in range(SEEDS)]
    plain = BuiltinGenerator()
    before = [plain.generate(GenerationRequest(*one)).pixels for one in asked]
    said = found["reward"]
    assert isinstance(said, dict)
    score_N = reward.score(before, [prompt for prompt, _ in asked])
    assert said["base"] == pytest.approx(score_N.mean())
    assert said["n"] == len(asked)
    assert said["difference"] == pytest.approx(said["tuned"] - said["base"])
    assert said["low"] <= said["difference"] <= said["high"]
    assert isinstance(found["held_out"], dict)
    assert found["held_out"]["name"] == "jpeg"
    assert (tmp_path / "run/comparison.png").stat().st_size > 10_000


def test_what_is_in_service_is_what_it_is_compared_with(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / str(seed), seed=seed, config=CONFIG) for seed in (1, 2))
    deployer = Deployer(
        DeployedStore(tmp_path / "data"), lambda name, tuned: load_generator(name, tuned=tuned)
    )
    in_service = deployer.use(tmp_path / "1", anyway=True).model_id
    found = _evaluate(tmp_path / "2", "--data-dir", str(tmp_path / "data"))
    assert (found["run"], found["against"]) == (second.id, in_service)
    assert first.id in in_service
    same = _evaluate(tmp_path / "1", "--data-dir", str(tmp_path / "data"))  # with itself
    assert isinstance(same["reward"], dict)
    assert same["reward"]["difference"] == 0
    assert same["drift"] == pytest.approx(0, abs=1e-6)


def test_a_run_without_a_held_out_reward_cannot_be_judged(tmp_path: Path) -> None:
    write_run(tmp_path, config=CONFIG | {"held_out": []})
    with pytest.raises(InvalidInputError, match="held_out"):
        CliRunner().invoke(app, ["evaluate", "run", str(tmp_path)], catch_exceptions=False)


def test_intervals_are_those_of_the_mean() -> None:
    value_N = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = bootstrap(value_N, 4_000, np.random.default_rng(0))
    assert found.value == pytest.approx(value_N.mean())
    error = 1.96 * value_N.std() / 20
    assert found.low == pytest.approx(found.value - error, abs=0.02)
    assert found.high == pytest.approx(found.value + error, abs=0.02)
