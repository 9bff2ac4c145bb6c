"""SPRO-Prompt: a Guider improves on its own answers, round after round.

    for each round    ask: n answers a caption      → told.jsonl
                      paint and score               → winners.safetensors, scored.jsonl
                      choose pairs                  → audit.jsonl
                      DPO, reference = the round before → guider.safetensors, round.json

Reference       SPRO (NeurIPS 2025, OpenReview A4JiifkTzq)
Departures      docs/spro.md

Dimension key   N captions, R draws, F features
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.policy_gradient.checkpoint import load_weights, save_weights
from training.policy_gradient.evaluation import RewardSet
from training.run_folder import keep_rows, read_rows
from training.spro.ask import ask, seed_of
from training.spro.config import SproConfig
from training.spro.files import PROMPT, read_object, round_folder, write_object
from training.spro.guidance import Answer, Request
from training.spro.paint import Painter
from training.spro.preference import Pair, TrainableGuider, train
from training.spro.select import KEPT, verdicts, winner_and_loser

ASK, NOISE, ORDER = 1, 2, 3  # what a number is drawn for: first part of its seed after the run's
Row = dict[str, Any]  # of a JSON lines file


@dataclass(frozen=True, slots=True)
class Parts:
    guider: TrainableGuider
    painter: Painter
    reward_set: RewardSet
    captions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the Guider is given of each caption: words, and the latents of their picture."""

    captions: list[str]
    latent_NRKHW: Tensor


@dataclass
class Rounds:
    """A run; `say` is told how far it is."""

    parts: Parts
    config: SproConfig
    out: Path
    seed: int
    say: Callable[[str], None] = lambda _text: None

    def run(self) -> None:
        """All rounds that are not done yet; a round's finished phases are not done again."""
        base_NRKHW = self._base()
        inputs = Inputs(list(self.parts.captions), base_NRKHW)
        before = float("-inf")
        for number in range(1, self.config.rounds.most + 1):
            folder = round_folder(self.out, number)
            if not (folder / "round.json").is_file():
                self._round(number, inputs, base_NRKHW, before)
            summary = read_object(folder / "round.json")
            self.say(f"round {number}: {summary}")
            if summary["stopped"] is not None:
                return
            put_weights(self.parts.guider, folder / "guider.safetensors")
            before = summary["candidates"]
            if self.config.rounds.carry:
                inputs = _carried(inputs, read_rows(folder / "audit.jsonl"), folder)

    def _round(self, number: int, inputs: Inputs, base_NRKHW: Tensor, before: float) -> None:
        folder = round_folder(self.out, number)
        folder.mkdir(parents=True, exist_ok=True)
        requests = self._requests(inputs)
        told = self._told(number, folder, requests)
        scored = self._scored(folder, told, base_NRKHW)
        audit = self._audit(folder, inputs, told, scored)
        pairs = _pairs(requests, audit, told)
        summary = _summary(audit, told, scored)
        stopped = None
        if not pairs:
            stopped = "no pair was kept"
        elif (rise := summary["candidates"] - before) < self.config.rounds.least_rise:
            stopped = f"saturated: the candidates' mean reward rose by {rise:.4g}"
        else:
            summary |= self._train(number, folder, pairs)
        write_object(folder / "round.json", summary | {"stopped": stopped})

    def _base(self) -> Tensor:
        path = self.out / PROMPT / "base.safetensors"
        if not path.is_file():
            seeds = [self._noise(n) for n in range(len(self.parts.captions))]
            save_weights({"latent": self.parts.painter.paint(self.parts.captions, seeds)}, path, {})
        return load_weights(path)["latent"]

    def _noise(self, caption: int) -> list[int]:
        """The same for every candidate and every round."""
        return [seed_of(self.seed, NOISE, caption, draw) for draw in range(self.config.picture.draws)]

    def _requests(self, inputs: Inputs) -> list[Request]:
        if not self.parts.guider.sees_pictures:
            return [Request(caption, None, self.config.objective) for caption in inputs.captions]
        seen = self.parts.painter.pictures(inputs.latent_NRKHW[:, 0])
        return [
            Request(caption, picture, self.config.objective)
            for caption, picture in zip(inputs.captions, seen, strict=True)
        ]

    def _told(self, number: int, folder: Path, requests: Sequence[Request]) -> list[Row]:
        """One row a candidate, candidates of a caption together."""
        path = folder / "told.jsonl"
        if not path.is_file():
            rounds = self.config.rounds
            temperatures = [t for t in rounds.temperatures for _ in range(rounds.repeats)]
            asked = [(n, t) for n in range(len(requests)) for t in temperatures]
            told = ask(
                self.parts.guider,
                [requests[n] for n, _ in asked],
                [t for _, t in asked],
                rounds.tries,
                (self.seed, ASK, number),
            )
            rows = [
                {
                    "caption": n,
                    "temperature": t,
                    "plan": one.guidance and one.guidance.plan,
                    "prompt": one.guidance and one.guidance.prompt,
                    "answer": one.answer and one.answer.text,
                    "failures": [{"reason": failed.reason, "text": failed.text} for failed in one.failures],
                }
                for (n, t), one in zip(asked, told, strict=True)
            ]
            keep_rows(path, rows)
        return read_rows(path)

    def _scored(self, folder: Path, told: Sequence[Row], base_NRKHW: Tensor) -> list[Row]:
        """One row a caption. The winners' latents are written first: the rows say that they are there."""
        path = folder / "scored.jsonl"
        if not path.is_file():
            rows, winners = [], base_NRKHW.clone()
            for n, caption in enumerate(self.parts.captions):
                prompts = [row["prompt"] for row in told if row["caption"] == n]
                row, latent_RKHW = self._score(n, caption, prompts, base_NRKHW[n])
                rows.append(row)
                if latent_RKHW is not None:
                    winners[n] = latent_RKHW
            save_weights({"latent": winners}, folder / "winners.safetensors", {})
            keep_rows(path, rows)
        return read_rows(path)

    def _score(
        self, n: int, caption: str, prompts: Sequence[str | None], base_RKHW: Tensor
    ) -> tuple[Row, Tensor | None]:
        painter, reward_set = self.parts.painter, self.parts.reward_set
        known = [i for i, prompt in enumerate(prompts) if prompt is not None]
        latents = [base_RKHW[None]]
        if known:
            asked = [str(prompts[i]) for i in known]
            latents.append(painter.paint(asked, [self._noise(n)] * len(asked)))
        latent_MRKHW = torch.cat(latents)
        pictures = painter.pictures(latent_MRKHW)
        # The caption itself, not its rewriting: words must not be able to buy a reward that reads them.
        reward_MR = reward_set.reward.score(pictures, [caption] * len(pictures)).reshape(
            len(latent_MRKHW), -1
        )
        reward_M = reward_MR.mean(axis=1).tolist()
        scores: list[float | None] = [None] * len(prompts)
        for place, i in enumerate(known):
            scores[i] = reward_M[1 + place]
        row: Row = {"caption": n, "base": reward_M[0], "scores": scores, "winner": None, "loser": None}
        if (chosen := winner_and_loser(scores)) is None:
            return row, None
        best = 1 + known.index(chosen[0])
        feature_F = reward_set.features([*painter.pictures(latent_MRKHW[best]), *painter.pictures(base_RKHW)])
        won_RF, plain_RF = np.split(feature_F, 2)
        fidelity = float((won_RF * plain_RF).sum(axis=1).mean())
        return row | {"winner": chosen[0], "loser": chosen[1], "fidelity": fidelity}, latent_MRKHW[best]

    def _audit(self, folder: Path, inputs: Inputs, told: Sequence[Row], scored: Sequence[Row]) -> list[Row]:
        """One row a caption: its pair, what it was worth, and whether it is learned from."""
        rounds = self.config.rounds
        usable = [row for row in scored if row["winner"] is not None]
        found = verdicts(
            np.array([row["scores"][row["winner"]] for row in usable], np.float64),
            np.array([row["base"] for row in usable], np.float64),
            np.array([row["fidelity"] for row in usable], np.float64),
            rounds.fidelity,
            rounds.weak_gain,
        )
        verdict_of = {row["caption"]: verdict for row, verdict in zip(usable, found, strict=True)}
        of_each = len(rounds.temperatures) * rounds.repeats
        rows = []
        for row in scored:
            n = row["caption"]
            entry = {
                "caption": self.parts.captions[n],
                "asked": inputs.captions[n],
                "verdict": verdict_of.get(n, "no two candidates that differ"),
                "base": row["base"],
            }
            if row["winner"] is not None:
                for name in ("winner", "loser"):
                    place = n * of_each + row[name]
                    entry[name] = {"place": place, "score": row["scores"][row[name]]}
                    entry[name] |= {key: told[place][key] for key in ("temperature", "plan", "prompt")}
                entry |= {"gain": entry["winner"]["score"] - row["base"], "fidelity": row["fidelity"]}
            rows.append(entry)
        keep_rows(folder / "audit.jsonl", rows)
        return rows

    def _train(self, number: int, folder: Path, pairs: Sequence[Pair]) -> dict[str, float]:
        steps: list[Row] = []
        rng = np.random.default_rng((self.seed, ORDER, number))
        learned = train(self.parts.guider, pairs, self.config.preference, rng, steps.append)
        keep_rows(folder / "steps.jsonl", steps)
        trained = {name: weight.detach() for name, weight in self.parts.guider.trainable()}
        save_weights(trained, folder / "guider.safetensors", {})
        return learned


@torch.no_grad()
def put_weights(guider: TrainableGuider, path: Path) -> None:
    kept = load_weights(path)
    for name, weight in guider.trainable():
        weight.copy_(kept[name])


def _pairs(requests: Sequence[Request], audit: Sequence[Row], told: Sequence[Row]) -> list[Pair]:
    return [
        Pair(
            requests[n],
            Answer(told[row["winner"]["place"]]["answer"], True),
            Answer(told[row["loser"]["place"]]["answer"], True),
        )
        for n, row in enumerate(audit)
        if row["verdict"] == KEPT
    ]


def _summary(audit: Sequence[Row], told: Sequence[Row], scored: Sequence[Row]) -> dict[str, Any]:
    """`candidates`, the mean reward of all of them, says how good the Guider before the round was."""
    means = [np.mean(known) for row in scored if (known := [s for s in row["scores"] if s is not None])]
    won = [row["winner"]["score"] for row in audit if "winner" in row]
    reasons = [failure["reason"] for row in told for failure in row["failures"]]
    return {
        "base": float(np.mean([row["base"] for row in audit])),
        "candidates": float(np.mean(means)) if means else None,
        "winners": float(np.mean(won)) if won else None,
        "verdicts": {v: sum(r["verdict"] == v for r in audit) for v in sorted({r["verdict"] for r in audit})},
        "failures": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "unanswered": sum(row["prompt"] is None for row in told),
    }


def _carried(inputs: Inputs, audit: Sequence[Row], folder: Path) -> Inputs:
    """The winner takes its caption's place, where it was kept."""
    winners = load_weights(folder / "winners.safetensors")["latent"]
    is_kept = [row["verdict"] == KEPT for row in audit]
    return Inputs(
        [
            row["winner"]["prompt"] if kept else caption
            for caption, row, kept in zip(inputs.captions, audit, is_kept, strict=True)
        ],
        torch.where(torch.tensor(is_kept)[:, None, None, None, None], winners, inputs.latent_NRKHW),
    )
