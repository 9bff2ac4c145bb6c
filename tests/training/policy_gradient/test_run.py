"""Runs: what they leave, that they go on after a stop, and that the guard ends what is gamed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from indexer.disk.files import sha256_of_file
from indexer.errors import CorruptStoreError, InvalidInputError
from tests.support.tiny_policy import EVERYTHING
from tests.support.toy_run import Brightness, Flatness, pixels, toy_config, toy_run
from training.policies.adapters import copy_of
from training.policy_gradient.config import GuardConfig
from training.policy_gradient.evaluation import RewardSet
from training.run_folder import read_rows

pytestmark = pytest.mark.slow


def _figures(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "cpu_s"} for row in read_rows(folder / "metrics.jsonl")]


def test_a_run_leaves_its_card_its_figures_and_its_weights(
    tiny_generator_folder: Path, tmp_path: Path
) -> None:
    config = toy_config(ema=0.5)
    outcome = toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", config).run()
    assert (outcome.epoch, outcome.stopped) == (4, None)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["kind"] == "pcpo-flow"
    assert card["base"] == {"name": "tiny", "model_id": "tiny"}
    assert card["config"]["training"]["epochs"] == 4
    weights = tmp_path / "adapter/pytorch_lora_weights.safetensors"
    assert card["files"] == {"adapter/pytorch_lora_weights.safetensors": sha256_of_file(weights)}
    rows = _figures(tmp_path)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["epoch"] for row in rows if "evaluation" in row] == [0, 2, 4]
    assert rows[0]["evaluation"]["departure"] == pytest.approx(0, abs=1e-6)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        f"epoch-00000{epoch}.png" for epoch in (0, 2, 4)
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_what_is_deployed_is_the_moving_average(tiny_generator_folder: Path, tmp_path: Path) -> None:
    run = toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(ema=0.9))
    run.run()
    saved = load_file(tmp_path / "adapter/pytorch_lora_weights.safetensors")
    name = next(name for name in run.trainer.average if "lora_A" in name)
    key = "unet." + name.replace(".default", "")
    assert saved[key].allclose(run.trainer.average[name])
    assert not saved[key].allclose(dict(run.trainer.policy.trainable())[name])


@pytest.mark.parametrize("algorithm", ["ddpo", "pcpo-flow"])
def test_a_stopped_run_goes_on_to_the_same_numbers(
    tiny_generator_folder: Path, tmp_path: Path, algorithm: str
) -> None:
    config = replace(
        toy_config(), algorithms=toy_config().algorithms | {"ddpo": toy_config().algorithms["dance-grpo"]}
    )
    whole = toy_run(tiny_generator_folder, tmp_path / "whole", algorithm, config)
    whole.run()

    class StopError(Exception):
        pass

    def stop(epoch: int, _reward: float) -> None:
        if epoch == 3:
            raise StopError

    first = toy_run(tiny_generator_folder, tmp_path / "parts", algorithm, config)
    first.on_epoch = stop
    with pytest.raises(StopError):
        first.run()
    again = toy_run(tiny_generator_folder, tmp_path / "parts", algorithm, config)
    again.run()
    assert _figures(tmp_path / "parts") == _figures(tmp_path / "whole")
    mine, theirs = copy_of(again.trainer.policy.trainable()), copy_of(whole.trainer.policy.trainable())
    assert all(mine[name].equal(theirs[name]) for name in mine)


def test_a_folder_belongs_to_one_configuration(tiny_generator_folder: Path, tmp_path: Path) -> None:
    toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(epochs=1)).run()
    with pytest.raises(InvalidInputError, match="another configuration"):
        toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(epochs=2)).run()
    with pytest.raises(InvalidInputError, match="another configuration"):
        toy_run(tiny_generator_folder, tmp_path, "log-hinge", toy_config(epochs=1)).run()


def test_a_folder_of_the_release_before_is_still_that_of_its_run(
    tiny_generator_folder: Path, tmp_path: Path
) -> None:
    toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(epochs=1)).run()
    claim = tmp_path / "config.json"
    written = claim.read_text()
    claim.write_text(written.replace('"parameterization": "native"', '"seen_as": "itself"'))
    assert claim.read_text() != written
    toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(epochs=1)).run()


def test_a_damaged_checkpoint_is_named(tiny_generator_folder: Path, tmp_path: Path) -> None:
    toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(epochs=1)).run()
    path = next((tmp_path / "checkpoints").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptStoreError, match=r"checkpoint-000001\.safetensors"):
        toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", toy_config(epochs=1)).run()


def test_a_gamed_reward_is_stopped_and_rolled_back(tiny_generator_folder: Path, tmp_path: Path) -> None:
    """Flatness is best when every picture is one colour; long before, the guard sees where it goes."""
    config = toy_config(epochs=24)
    config = replace(
        config,
        policy=replace(config.policy, adapter=EVERYTHING),
        algorithms={"pcpo": replace(config.algorithms["pcpo-flow"], learning_rate=0.01)},
        guard=GuardConfig(drift=2.5),
    )
    reward_set = RewardSet(Flatness(), {"brightness": Brightness()}, pixels)
    run = toy_run(tiny_generator_folder, tmp_path, "pcpo", config, reward_set)
    outcome = run.run()
    assert outcome.stopped is not None
    assert "away from the base model" in outcome.stopped
    taken = {row["epoch"]: row["evaluation"] for row in _figures(tmp_path) if "evaluation" in row}
    assert max(taken) < 24
    assert taken[max(taken)]["drift"] > 2.5
    assert taken[max(taken)]["reward"] > taken[0]["reward"]
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["stopped"], card["epoch"]) == (outcome.stopped, outcome.epoch)
    kept, _ = run.suite.take(copy_of(run.trainer.policy.trainable()))
    assert kept.drift == pytest.approx(taken[outcome.epoch]["drift"])
    assert kept.drift <= 2.5
