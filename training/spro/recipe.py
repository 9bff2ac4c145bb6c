"""The three commands: SPRO-Prompt, SPRO-Image on its winners, and what both were worth.

A command that is called again goes on where it was; each needs what the one before left in the folder.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from indexer.disk.files import replace_text
from indexer.errors import InvalidInputError
from training.policies import adapters
from training.policies.policy import Policy
from training.policy_gradient.checkpoint import load_weights, save_weights
from training.run_folder import METRICS, append, keep_rows, read_rows, write_card
from training.spro import report
from training.spro.ask import GuiderOutput, seed_of
from training.spro.config import SproConfig
from training.spro.evaluate import IMAGE as IMAGE_ROW
from training.spro.evaluate import MM, PLAIN, UNTRAINED, Drawn, EvaluationSuite, guided, prompts_of
from training.spro.files import (
    EVALUATION,
    IMAGE,
    PROMPT,
    claim,
    finished_rounds,
    round_folder,
    write_object,
)
from training.spro.image import tune, winners_of
from training.spro.paint import Painter
from training.spro.rounds import Parts, Rounds, put_weights
from training.spro.wiring import captions_of, load_generator, load_guider, load_painter, load_reward_set

TUNE, ANSWER, NOISE = 11, 12, 13  # what a number is drawn for: first part of its seed after the run's
Say = Callable[[str], None]


def run_prompt(config: SproConfig, seed: int, out: Path, threads: int | None, say: Say) -> None:
    claim(out, config, seed)
    parts = Parts(
        load_guider(config, seed),
        load_painter(config.picture),
        load_reward_set(config, threads),
        captions_of(config)[0],
    )
    Rounds(parts, config, out, seed, say).run()
    rounds = finished_rounds(out)
    write_card(
        out / PROMPT,
        kind="spro-prompt",
        base={"name": config.guider.kind, "model_id": parts.guider.model_id},
        config=asdict(config),
        seed=seed,
        files=[round_folder(out, number) / "guider.safetensors" for number in rounds],
        rounds=len(rounds),
        sees_pictures=parts.guider.sees_pictures,
        generator=parts.painter.policy.model_id,
    )


def run_image(config: SproConfig, seed: int, out: Path, say: Say) -> None:
    """Raises InvalidInputError: no round has trained a Guider yet."""
    claim(out, config, seed)
    rounds = winners_of(out)
    if not rounds:
        raise InvalidInputError(f"{out}: no finished round: run spro-prompt first")
    folder = out / IMAGE
    policy = load_generator(config.picture, config.image.adapter, seed, guided=False)
    for number, winners in enumerate(rounds, start=1):
        path = folder / f"round-{number}.safetensors"
        if not path.is_file():
            keep_rows_before(folder, number)
            tune(policy, winners, config.image, (seed, TUNE, number), _log(folder, number))
            save_weights({name: weight.detach() for name, weight in policy.trainable()}, path, {})
        put(policy, load_weights(path))
        say(f"round {number}: {len(winners.captions)} pictures")
    deployed = adapters.save(policy.network, config.image.adapter, policy.part, folder)
    write_card(
        folder,
        kind="spro-image",
        base={"name": config.picture.generator, "model_id": policy.model_id},
        config=asdict(config),
        seed=seed,
        files=[deployed],
        rounds=len(rounds),
    )


def run_evaluate(config: SproConfig, seed: int, out: Path, threads: int | None, say: Say) -> str:
    """Write table, sheet and plot; returns the table in Markdown."""
    claim(out, config, seed)
    settings = config.evaluation
    captions = captions_of(config)[1]
    seeds = [[seed_of(seed, NOISE, n, draw) for draw in range(settings.seeds)] for n in range(len(captions))]
    painter = load_painter(config.picture)
    plain = Drawn(PLAIN, tuple(captions), painter.paint(captions, seeds))
    drawn = [plain, *_guiders(config, seed, out, painter, plain, seeds, say)]
    drawn += _tuned(config, seed, out, drawn, seeds)
    reward_set = load_reward_set(config, threads)
    rows = EvaluationSuite(captions, seeds, reward_set, settings.resamples).rows(painter, drawn)
    name = reward_set.reward.card.name
    table = report.markdown(rows, name)
    folder = out / EVALUATION
    write_object(
        folder / "table.json",
        {"reward": name, "captions": len(captions), "seeds": settings.seeds, "rows": [*map(asdict, rows)]},
    )
    replace_text(folder / "table.md", table)
    report.plot(rows, name, folder / "rounds.png")
    shown = [i * len(captions) // settings.shown for i in range(settings.shown)]
    pictures = [(one.name, painter.pictures(one.latent_NRKHW[shown, 0])) for one in drawn]
    (folder / "sheet.png").write_bytes(report.sheet(pictures, [captions[i] for i in shown]))
    return table


def _guiders(
    config: SproConfig,
    seed: int,
    out: Path,
    painter: Painter,
    plain: Drawn,
    seeds: list[list[int]],
    say: Say,
) -> list[Drawn]:
    """The untrained Guider, then that of each round: the same questions, the same seeds."""
    settings, guider = config.evaluation, load_guider(config, seed)
    seen = painter.pictures(plain.latent_NRKHW[:, 0]) if guider.sees_pictures else None
    drawn = []
    for number in [0, *finished_rounds(out)]:
        name = f"round {number}" if number else UNTRAINED
        if number:
            put_weights(guider, round_folder(out, number) / "guider.safetensors")
        say(name)
        told = guided(
            guider,
            plain.prompts,
            seen,
            config.objective,
            settings.temperature,
            settings.tries,
            (seed, ANSWER),
        )
        _keep_answers(out / EVALUATION / f"answers-{number}.jsonl", plain.prompts, told)
        prompts = prompts_of(told, plain.prompts)
        unanswered = sum(one.guidance is None for one in told)
        drawn.append(Drawn(name, prompts, painter.paint(prompts, seeds), unanswered))
    return drawn


def _tuned(
    config: SproConfig, seed: int, out: Path, drawn: list[Drawn], seeds: list[list[int]]
) -> list[Drawn]:
    """SPRO-Image, and with the last Guider's prompts SPRO-MM; nothing where no generator was tuned."""
    last = out / IMAGE / f"round-{len(finished_rounds(out))}.safetensors"
    if not last.is_file():
        return []
    policy = load_generator(config.picture, config.image.adapter, seed, guided=True)
    put(policy, load_weights(last))
    painter = Painter(policy, config.picture)
    return [
        Drawn(name, of.prompts, painter.paint(of.prompts, seeds), of.unanswered)
        for name, of in ((IMAGE_ROW, drawn[0]), (MM, drawn[-1]))
    ]


@torch.no_grad()
def put(policy: Policy, values: dict[str, Tensor]) -> None:
    for name, weight in policy.trainable():
        weight.copy_(values[name])


def keep_rows_before(folder: Path, number: int) -> None:
    """What a killed round had logged is taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    keep_rows(folder / METRICS, [row for row in read_rows(folder / METRICS) if row["round"] < number])


def _log(folder: Path, number: int) -> Callable[[dict[str, Any]], None]:
    return lambda row: append(folder / METRICS, {"round": number, **row})


def _keep_answers(path: Path, captions: tuple[str, ...], told: list[GuiderOutput]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "caption": caption,
            "plan": one.guidance and one.guidance.plan,
            "prompt": one.guidance and one.guidance.prompt,
            "failures": [asdict(failure) for failure in one.failures],
        }
        for caption, one in zip(captions, told, strict=True)
    ]
    replace_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
