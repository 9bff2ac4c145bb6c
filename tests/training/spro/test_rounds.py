"""Runs of self-play: what is learned, what is kept, and that a killed run ends with the same numbers."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.errors import InvalidInputError
from tests.support.tiny_policy import LORA, tiny_policy
from tests.support.toy_run import Brightness, pixels
from training.bootstrap import bootstrap
from training.policies.options import Adapter
from training.policies.policy import Policy
from training.policy_gradient.checkpoint import load_weights
from training.policy_gradient.evaluation import RewardSet
from training.rewards.config import RewardConfig
from training.run_folder import read_rows
from training.spro.ask import seed_of
from training.spro.config import (
    EvaluationConfig,
    GuiderConfig,
    ImageConfig,
    PictureConfig,
    PreferenceConfig,
    RoundsConfig,
    SproConfig,
)
from training.spro.evaluate import Drawn, EvaluationSuite
from training.spro.files import claim, finished_rounds, read_object, round_folder
from training.spro.guidance import Answer, Request
from training.spro.image import Winners, denoising_loss, tune, winners_of
from training.spro.instructions import OPENING
from training.spro.language import logp_sum_B
from training.spro.paint import Painter
from training.spro.preference import Pair, train
from training.spro.rounds import Parts, Rounds
from training.spro.text_guider import TextGuider

pytestmark = pytest.mark.slow

HEAD = Adapter(rank=4, alpha=4.0, targets=("lm_head",))
CAPTIONS = ("sun", "moon", "a red fox")
PICTURE = PictureConfig(steps=3, draws=2, batch=5)
ROUNDS = RoundsConfig(
    most=2, captions=3, temperatures=(1.0,), repeats=4, fidelity=-1.0, weak_gain="none", least_rise=-1.0
)
CONFIG = SproConfig(
    objective="aesthetic",
    guider=GuiderConfig("text", "tiny", HEAD),
    picture=PICTURE,
    rounds=ROUNDS,
    preference=PreferenceConfig(learning_rate=0.05, epochs=3, batch=2, rows=4),
    image=ImageConfig(LORA, learning_rate=0.01, epochs=3, batch=4),
    evaluation=EvaluationConfig(captions=2),
    reward=RewardConfig("colourfulness"),
    held_out=(),
)
REWARD_SET = RewardSet(Brightness(), {"darkness": Brightness(-1)}, pixels)


def guider_of(folder: Path) -> TextGuider:
    return TextGuider(f"local:{folder}", adapter=HEAD, most_tokens=12, batch=64, seed=0)


Start = Callable[[Path, SproConfig], Rounds]


@pytest.fixture(scope="module")
def start(text_model: Path, tiny_generator_folder: Path) -> Start:
    def begin(out: Path, config: SproConfig = CONFIG) -> Rounds:
        painter = Painter(tiny_policy(tiny_generator_folder, adapter=None), config.picture)
        return Rounds(Parts(guider_of(text_model), painter, REWARD_SET, CAPTIONS), config, out, seed=3)

    return begin


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not stopped; not to be changed."""
    out = tmp_path_factory.mktemp("whole")
    start(out, CONFIG).run()
    return out


def pair(winner: str, loser: str) -> Pair:
    request = Request("sun", None, "aesthetic")
    first, second = (
        Answer(f"{OPENING} calm\nCaption: {colour} sun", ended=True) for colour in (winner, loser)
    )
    return Pair(request, first, second)


def test_dpo_makes_the_winner_likelier_and_says_how_far_it_went(text_model: Path) -> None:
    guider = guider_of(text_model)
    pairs = [pair("red", "blue"), pair("red", "black")]
    config = replace(CONFIG.preference, epochs=10)
    steps: list[dict[str, float]] = []
    learned = train(guider, pairs, config, np.random.default_rng(0), steps.append)
    won, lost = logp_sum_B(guider.score([pairs[0].request] * 2, [pairs[0].winner, pairs[0].loser])).tolist()
    # They were equal before.
    assert config.beta * (won - lost) == pytest.approx(learned["margin"], rel=0.3)
    assert learned["accuracy"] == 1.0
    assert learned["kl"] > 0
    assert steps[0]["loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert steps[-1]["loss"] < steps[0]["loss"]
    reds = [a for a in guider.write([pairs[0].request] * 60, [1.0] * 60, range(60)) if " red" in a.text]
    assert len(reds) > 30  # one in four before


def test_the_size_of_a_pass_does_not_change_what_is_learned(text_model: Path) -> None:
    pairs = [pair("red", "blue"), pair("red", "black"), pair("blue", "black")]
    found = []
    for rows in (2, 6):
        guider = guider_of(text_model)
        config = replace(CONFIG.preference, epochs=1, batch=3, rows=rows)
        train(guider, pairs, config, np.random.default_rng(0))
        found.append([weight.detach() for _, weight in guider.trainable()])
    for one, other in zip(*found, strict=True):
        # Adam turns rounding of a zero gradient into a step of full size: B alone has a gradient yet.
        assert torch.allclose(one, other, atol=1e-3)


def test_a_run_leaves_every_answer_every_verdict_and_the_guider_of_each_round(whole: Path) -> None:
    assert finished_rounds(whole) == [1, 2]
    folder = round_folder(whole, 1)
    told, audit = read_rows(folder / "told.jsonl"), read_rows(folder / "audit.jsonl")
    assert len(told) == len(CAPTIONS) * 4
    assert any(row["failures"] for row in told)
    assert [row["caption"] for row in audit] == list(CAPTIONS)
    for row in audit:
        if "winner" in row:
            assert row["winner"]["score"] > row["loser"]["score"]
            assert row["gain"] == pytest.approx(row["winner"]["score"] - row["base"])
    summary = read_object(folder / "round.json")
    assert summary["stopped"] is None
    assert {"margin", "accuracy", "kl", "candidates", "base", "failures", "verdicts"} <= set(summary)


def test_a_score_is_the_reward_of_that_prompt_at_the_captions_own_noise(whole: Path, start: Start) -> None:
    row = next(row for row in read_rows(round_folder(whole, 1) / "audit.jsonl") if "winner" in row)
    noise = [seed_of(3, 2, CAPTIONS.index(row["caption"]), draw) for draw in range(2)]
    painter = start(whole, CONFIG).parts.painter
    for prompt, score in ((row["winner"]["prompt"], row["winner"]["score"]), (row["caption"], row["base"])):
        pictures = painter.pictures(painter.paint([prompt], [noise]))
        assert REWARD_SET.reward.score(pictures, ["any"] * 2).mean() == pytest.approx(score, abs=2e-3)


def test_the_winner_becomes_the_next_rounds_caption_where_it_was_kept(whole: Path) -> None:
    first, second = (read_rows(round_folder(whole, number) / "audit.jsonl") for number in (1, 2))
    for before, after in zip(first, second, strict=True):
        kept = before["verdict"] == "kept"
        assert after["asked"] == (before["winner"]["prompt"] if kept else before["caption"])
        assert after["caption"] == before["caption"]  # the reward reads this one


def test_pairs_unlike_the_plain_picture_are_dropped_and_then_there_is_nothing_to_learn(
    tmp_path: Path, start: Start
) -> None:
    start(tmp_path, replace(CONFIG, rounds=replace(ROUNDS, fidelity=1.01))).run()
    assert finished_rounds(tmp_path) == []
    folder = round_folder(tmp_path, 1)
    verdicts = {row["verdict"] for row in read_rows(folder / "audit.jsonl")}
    assert "kept" not in verdicts
    assert "unlike the plain picture" in verdicts
    assert read_object(folder / "round.json")["stopped"] == "no pair was kept"


def test_rounds_end_when_the_candidates_no_longer_rise(tmp_path: Path, start: Start) -> None:
    start(tmp_path, replace(CONFIG, rounds=replace(ROUNDS, most=5, least_rise=1.0))).run()
    assert finished_rounds(tmp_path) == [1]  # a brightness cannot rise by 1
    assert read_object(round_folder(tmp_path, 2) / "round.json")["stopped"].startswith("saturated")


FILES = (
    "told.jsonl",
    "winners.safetensors",
    "scored.jsonl",
    "audit.jsonl",
    "steps.jsonl",
    "guider.safetensors",
    "round.json",
)


@pytest.mark.parametrize("there", [0, 1, 2, 4, 6])
def test_a_run_killed_between_two_files_ends_with_the_same_numbers(
    tmp_path: Path, whole: Path, start: Start, there: int
) -> None:
    out = tmp_path / "killed"
    shutil.copytree(whole, out)
    for name in FILES[there:]:
        (round_folder(out, 2) / name).unlink()
    start(out, CONFIG).run()
    for name in FILES:
        assert (round_folder(out, 2) / name).read_bytes() == (round_folder(whole, 2) / name).read_bytes(), (
            name
        )


def test_a_folder_belongs_to_one_configuration_and_seed(tmp_path: Path) -> None:
    claim(tmp_path, CONFIG, 0)
    claim(tmp_path, CONFIG, 0)
    with pytest.raises(InvalidInputError, match="another configuration or seed"):
        claim(tmp_path, CONFIG, 1)


def test_the_generator_learns_from_winners_under_the_plain_caption(
    whole: Path, tiny_generator_folder: Path
) -> None:
    rounds = winners_of(whole)
    kept = [row for row in read_rows(round_folder(whole, 1) / "audit.jsonl") if row["verdict"] == "kept"]
    assert rounds[0].captions == tuple(row["caption"] for row in kept for _ in range(2))
    stored = load_weights(round_folder(whole, 1) / "winners.safetensors")["latent"]
    assert torch.equal(rounds[0].latent_BKHW[:2], stored[CAPTIONS.index(kept[0]["caption"])])
    policy = tiny_policy(tiny_generator_folder)
    losses: list[float] = []
    config = replace(CONFIG.image, epochs=16)
    tune(policy, rounds[0], config, (1,), lambda row: losses.append(row["loss"]))
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_tuning_repeats_itself(tiny_generator_folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    policy = tiny_policy(tiny_generator_folder)
    winners = Winners(CAPTIONS, torch.randn((3, *policy.latent_KHW), generator=rng))
    found = []
    for _ in range(2):
        policy = tiny_policy(tiny_generator_folder)
        tune(policy, winners, CONFIG.image, (1,))
        found.append([weight.detach() for _, weight in policy.trainable()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


class Knowing:
    """Predicts perfectly: it is told x_0 by the conditioning."""

    def __init__(self, kind: str, clean: torch.Tensor) -> None:
        self.kind, self._clean = kind, clean

    def predict(self, x: torch.Tensor, t: torch.Tensor, _known: object) -> torch.Tensor:
        if self.kind == "flow":
            return (x - self._clean) / t[:, None, None, None]  # (x − x_0) / t = n − x_0
        beta = torch.linspace(8.5e-4**0.5, 1.2e-2**0.5, 1000, dtype=torch.float64) ** 2
        abar = (1 - beta).cumprod(0)[t.long()].float()[:, None, None, None]
        return (x - abar.sqrt() * self._clean) / (1 - abar).sqrt()


@pytest.mark.parametrize("kind", ["flow", "diffusion"])
def test_who_knows_the_picture_has_no_denoising_loss(kind: str) -> None:
    clean = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    policy: Policy = Knowing(kind, clean)  # type: ignore[assignment]  # only these two parts are asked for
    loss = denoising_loss(policy, clean, None, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(0, abs=1e-4)


def test_rows_are_compared_with_the_first_one_caption_by_caption(tiny_generator_folder: Path) -> None:
    painter = Painter(tiny_policy(tiny_generator_folder, adapter=None), PICTURE)
    seeds = [[1, 2], [3, 4]]
    plain, other = (
        Drawn(name, prompts, painter.paint(prompts, seeds))
        for name, prompts in (("plain", ("sun", "moon")), ("other", ("red sun", "moon")))
    )
    first, second = EvaluationSuite(("sun", "moon"), seeds, REWARD_SET, 200).rows(painter, [plain, other])
    pictures = [painter.pictures(one.latent_NRKHW) for one in (plain, other)]
    bright = [np.mean([picture.mean() / 255 for picture in made]) for made in pictures]
    assert first.reward.value == pytest.approx(bright[0])
    assert (first.gain.value, first.gain.low, first.gain.high) == (0, 0, 0)
    assert first.fidelity == pytest.approx(1)
    assert second.gain.value == pytest.approx(bright[1] - bright[0])
    assert second.held_out_gain["darkness"].value == pytest.approx(bright[0] - bright[1])
    assert second.words == pytest.approx(1.5)
    assert second.fidelity < 1


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    value_N = np.random.default_rng(0).normal(5, 2, 400)
    found = bootstrap(value_N, 4000, np.random.default_rng(1))
    half = 1.96 * value_N.std() / np.sqrt(400)
    assert found.value == pytest.approx(value_N.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)
    assert json.loads(json.dumps([found.low, found.high]))
