"""A run from its first epoch to its card: train, evaluate, watch, keep. A killed run goes on where it was.

RUN/config.json      whose run this is; another configuration is refused
RUN/metrics.jsonl    one object an epoch; an evaluation where there was one
RUN/checkpoints/     to go on from
RUN/best.safetensors the trained weights of the best evaluation that the guard let pass
RUN/samples/         contact sheets of the same prompts and noise
RUN/tensorboard/     the same numbers for TensorBoard
RUN/adapter/ or weights/, RUN/card.json      the result
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from indexer.disk.files import replace_text
from indexer.errors import InvalidInputError
from training.config import with_current_names
from training.policies import adapters
from training.policies.adapters import holding
from training.policies.policy import Policy
from training.policy_gradient import checkpoint
from training.policy_gradient.config import PolicyGradientConfig
from training.policy_gradient.evaluation import Evaluation, RewardSet
from training.policy_gradient.evaluation_suite import EvaluationSuite, sheet
from training.policy_gradient.guard import stop_reason
from training.policy_gradient.processes import Processes
from training.policy_gradient.scalars import Scalars
from training.policy_gradient.step_weighting import noiseless_steps, step_weighting_of
from training.policy_gradient.trainer import EpochRecord, Trainer
from training.prompts.prompt_set import PromptSet
from training.run_folder import METRICS, append, keep_rows, read_rows, write_card


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with. `part` is the network's name in files."""

    policy: Policy
    base: str
    part: str
    prompts: PromptSet
    reward_set: RewardSet


@dataclass(frozen=True, slots=True)
class Outcome:
    """`stopped` is the guard's reason to stop; then the weights are those of `epoch`, the best before."""

    folder: Path
    epoch: int
    stopped: str | None


@dataclass
class Run:
    config: PolicyGradientConfig
    algorithm: str
    parts: Parts
    folder: Path
    processes: Processes
    on_epoch: Callable[[int, float], None] = lambda _epochs, _reward: None
    trainer: Trainer = field(init=False)
    suite: EvaluationSuite = field(init=False)

    def __post_init__(self) -> None:
        config, parts = self.config, self.parts
        weighting = step_weighting_of(config.sampler, config.algorithm(self.algorithm), parts.policy.kind)
        self.trainer = Trainer(
            parts.policy,
            weighting,
            config.sampler,
            config.training,
            parts.prompts.train,
            parts.reward_set.reward,
            config.seed,
            self.processes,
        )
        asked = [prompt.text for prompt in parts.prompts.held_out][: config.evaluation.prompts]
        self.suite = EvaluationSuite(
            parts.policy,
            parts.reward_set,
            [prompt for prompt in asked for _ in range(config.evaluation.seeds)],
            noiseless_steps(config.sampler, parts.policy.kind),
            self.trainer.base,
            config.training.rows,
        )

    def run(self) -> Outcome:
        """Raises InvalidInputError: the folder holds another run; what a step raises, checkpoints kept."""
        self._claim()
        done = self._resume()
        with Scalars(self.folder / "tensorboard" if self.processes.is_first else None, done) as scalars:
            if done == 0:
                self._keep_evaluation(0, {}, scalars)
            for epoch in range(done + 1, self.config.training.epochs + 1):
                if why := self._epoch(epoch, scalars):
                    return self._finish(self._roll_back(), why)
        return self._finish(self.config.training.epochs, None)

    def _epoch(self, epoch: int, scalars: Scalars) -> str | None:
        """One epoch, with all that is due after it; returns the guard's reason to stop."""
        began = time.process_time()
        record = self.trainer.epoch(epoch)
        row = {**_without_nan(record), "cpu_s": round(time.process_time() - began, 2)}
        why = None
        if epoch % self.config.evaluation.every == 0 or epoch == self.config.training.epochs:
            evaluation = self._keep_evaluation(epoch, row, scalars)
            why = stop_reason(self.config.guard, self.suite.of_base, evaluation)
            if why is None:
                self._keep_best(epoch, evaluation)
        else:
            self._keep_row(epoch, row, scalars)
        if epoch % self.config.training.checkpoint_every == 0 and self.processes.is_first:
            checkpoint.save(self.trainer, self.folder / "checkpoints", epoch)
        self.on_epoch(epoch, record.reward)
        return why

    def _claim(self) -> None:
        mine = json.dumps({"algorithm": self.algorithm, **asdict(self.config)}, indent=1)
        claim = self.folder / "config.json"
        if claim.is_file() and _in_current_names(claim.read_text("utf-8")) != mine:
            raise InvalidInputError(
                f"{self.folder} holds a run of another configuration: name another folder"
            )
        if self.processes.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_text(claim, mine)

    def _resume(self) -> int:
        """Epochs that are done; what was recorded of later ones is recorded again."""
        path = checkpoint.latest(self.folder / "checkpoints")
        done = checkpoint.restore(self.trainer, path) if path else 0
        if self.processes.is_first:
            kept = [row for row in read_rows(self.folder / METRICS) if row["epoch"] <= done] if done else []
            keep_rows(self.folder / METRICS, kept)
        return done

    @property
    def _weights(self) -> dict[str, Tensor]:
        """What is evaluated and deployed: the moving average where one is kept."""
        if self.config.training.ema > 0:
            return dict(self.trainer.average)
        return {name: weight.data for name, weight in self.parts.policy.trainable()}

    def _keep_evaluation(self, epoch: int, row: dict[str, Any], scalars: Scalars) -> Evaluation:
        evaluation, pictures = self.suite.take(self._weights)
        if self.processes.is_first:
            path = self.folder / "samples" / f"epoch-{epoch:06d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(sheet(pictures, self.suite.prompts))
        self._keep_row(epoch, {**row, "evaluation": asdict(evaluation)}, scalars)
        return evaluation

    def _keep_row(self, epoch: int, row: dict[str, Any], scalars: Scalars) -> None:
        if self.processes.is_first:
            append(self.folder / METRICS, {"epoch": epoch, **row})
            scalars.write(epoch, row)

    def _keep_best(self, epoch: int, evaluation: Evaluation) -> None:
        best = self.folder / "best.safetensors"
        if self.processes.is_first and (
            not best.is_file() or evaluation.reward > float(_note(best, "reward"))
        ):
            checkpoint.save_weights(
                self._weights, best, {"epoch": str(epoch), "reward": repr(evaluation.reward)}
            )

    def _roll_back(self) -> int:
        """Back to the best weights that were let pass, or to the base model where there are none."""
        best = self.folder / "best.safetensors"
        kept = checkpoint.load_weights(best) if best.is_file() else self.trainer.base
        with torch.no_grad():
            for name, weight in self.parts.policy.trainable():
                weight.copy_(kept[name])
                self.trainer.average[name].copy_(kept[name])
        return int(_note(best, "epoch")) if best.is_file() else 0

    def _finish(self, epoch: int, stopped: str | None) -> Outcome:
        self.processes.wait()
        if self.processes.is_first:
            policy, weighting = self.parts.policy, self.trainer.weighting
            with holding(policy, self._weights):
                path = adapters.save(policy.network, self.config.policy.adapter, self.parts.part, self.folder)
            write_card(
                self.folder,
                kind=self.algorithm,
                base={"name": self.parts.base, "model_id": policy.model_id},
                config=asdict(self.config),
                seed=self.config.seed,
                files=[path],
                epoch=epoch,
                stopped=stopped,
                prompts={"source": self.parts.prompts.source, "sha256": self.parts.prompts.sha256},
                weights={"native": _numbers(weighting.steps.weight_T), "used": _numbers(weighting.weight_T)},
            )
        return Outcome(self.folder, epoch, stopped)


def _note(path: Path, name: str) -> str:
    with safe_open(path, "pt") as file:
        return str(file.metadata()[name])


def _numbers(table_T: Tensor) -> list[float | None]:
    """JSON has no infinity: a step without noise has no weight."""
    return [round(number, 6) if np.isfinite(number) else None for number in table_T.tolist()]


def _without_nan(record: EpochRecord) -> dict[str, Any]:
    """JSON has no NaN: steps that were not trained have nothing to say."""
    return {
        name: [None if np.isnan(number) else number for number in value] if isinstance(value, list) else value
        for name, value in asdict(record).items()
    }


def _in_current_names(config: str) -> str:
    """A config.json, also one that the release before wrote."""
    try:
        return json.dumps(with_current_names(json.loads(config)), indent=1)
    except (ValueError, AttributeError):
        return config
