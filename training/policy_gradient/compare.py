"""Several algorithms from the same base, with the same reward and budget: who gets there first, and at what
price.

Every run is a process of its own with one thread, so that CPU times compare; runs whose card is there are not
repeated. Rewards are those of evaluations (held-out prompts, fixed noise), not of the pictures trained on.

Dimension key   R seeds, E evaluations, T steps
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from indexer.errors import UnavailableError
from training.policy_gradient.config import PolicyGradientConfig
from training.run_folder import CARD, METRICS, commit, read_rows


@dataclass(frozen=True, slots=True)
class Reached:
    """When a threshold was reached, of each run; NaN in runs that did not. At it, what it had cost."""

    threshold: float
    epochs: list[float]
    cpu_s: list[float]
    diversity: list[float]
    drift: list[float]

    @property
    def count(self) -> int:
        return int(np.isfinite(self.epochs).sum())


@dataclass(frozen=True, slots=True)
class Arm:
    """One algorithm. `reward_RE` and the like have one row a seed; `stopped` are the guard's objections."""

    name: str
    epoch_E: list[int]
    reward_RE: list[list[float]]
    diversity_RE: list[list[float]]
    drift_RE: list[list[float]]
    held_out_RE: dict[str, list[list[float]]]
    clipped_T: list[float]
    gradient_T: list[float]
    gradient_norm: float
    clipped: float
    reached: list[Reached]
    stopped: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    reward: str
    prompts: int
    seeds: list[int]
    epochs: int
    commit: str
    arms: list[Arm]

    def table(self) -> str:
        """Markdown: epochs and CPU seconds to each threshold, and what was left of diversity there."""
        lines = [
            "| threshold | algorithm | reached | epochs | CPU s | diversity | drift |",
            "|---|---|---|---|---|---|---|",
        ]
        for number, row in enumerate(self.arms[0].reached):
            for arm in self.arms:
                found = arm.reached[number]
                cells = (_mean(found.epochs), _mean(found.cpu_s), _mean(found.diversity), _mean(found.drift))
                reached = f"{found.count} of {len(self.seeds)}"
                lines.append(f"| {' | '.join((f'{row.threshold:g}', arm.name, reached, *cells))} |")
        return "\n".join(lines) + "\n"


def train_all(algorithms: Sequence[str], config: Path, seeds: Iterable[int], out: Path, workers: int) -> None:
    """Raises UnavailableError: a run failed; its output is in its folder, the others go on to their ends."""
    runs = [(name, seed) for seed in seeds for name in algorithms]
    with ThreadPoolExecutor(workers) as pool:
        logs = pool.map(lambda run: _train(run[0], run[1], config, out), runs)
        failed = [path for path in logs if path]
    if failed:
        raise UnavailableError(f"{len(failed)} of {len(runs)} runs failed; what they said: {failed[0]}")


def run_folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}"


def _train(name: str, seed: int, config: Path, out: Path) -> Path | None:
    """The log of a failed run."""
    folder = run_folder(out, name, seed)
    if (folder / CARD).is_file():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    command = [
        *(sys.executable, "-c", "from training.cli import main; main()"),
        *("pcpo", "--algorithm", name, "--seed", str(seed), "--config", str(config), "--out", str(folder)),
    ]
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    return log if done.returncode else None


def report(
    algorithms: Sequence[str], config: PolicyGradientConfig, seeds: Iterable[int], out: Path
) -> Report:
    """Read all runs and write report.json."""
    seeds = list(seeds)
    arms = [
        _arm(name, [run_folder(out, name, seed) for seed in seeds], config.comparison.thresholds)
        for name in algorithms
    ]
    found = Report(
        config.reward.name, config.evaluation.prompts, seeds, config.training.epochs, commit(), arms
    )
    (out / "report.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    return found


def _arm(name: str, folders: Sequence[Path], thresholds: Sequence[float]) -> Arm:
    runs = [read_rows(folder / METRICS) for folder in folders]
    taken = [[row for row in rows if "evaluation" in row] for rows in runs]
    shared = min(len(rows) for rows in taken)  # a run that the guard stopped has fewer
    taken = [rows[:shared] for rows in taken]
    evaluations = [[row["evaluation"] for row in rows] for rows in taken]
    trained = [row for rows in runs for row in rows if "clipped_T" in row]
    return Arm(
        name=name,
        epoch_E=[row["epoch"] for row in taken[0]],
        reward_RE=_column(evaluations, "reward"),
        diversity_RE=_column(evaluations, "diversity"),
        drift_RE=_column(evaluations, "drift"),
        held_out_RE={
            key: [[row["held_out"][key] for row in rows] for rows in evaluations]
            for key in evaluations[0][0]["held_out"]
        },
        clipped_T=_steps(trained, "clipped_T"),
        gradient_T=_steps(trained, "gradient_T"),
        gradient_norm=float(np.mean([row["gradient_norm"] for row in trained])),
        clipped=float(np.nanmean(_numbers(trained, "clipped_T"))),
        reached=[_reached(threshold, taken, runs) for threshold in thresholds],
        stopped=[why for folder in folders if (why := json.loads((folder / CARD).read_text())["stopped"])],
    )


def _reached(
    threshold: float, taken: list[list[dict[str, Any]]], runs: list[list[dict[str, Any]]]
) -> Reached:
    at = [
        crossing([row["epoch"] for row in rows], [row["evaluation"]["reward"] for row in rows], threshold)
        for rows in taken
    ]

    def then(key: str) -> list[float]:
        return [
            float(np.interp(epoch, [row["epoch"] for row in rows], [row["evaluation"][key] for row in rows]))
            if np.isfinite(epoch)
            else float("nan")
            for epoch, rows in zip(at, taken, strict=True)
        ]

    spent = [
        float(
            np.interp(
                epoch, [row["epoch"] for row in rows], np.cumsum([row.get("cpu_s", 0.0) for row in rows])
            )
        )
        if np.isfinite(epoch)
        else float("nan")
        for epoch, rows in zip(at, runs, strict=True)
    ]
    return Reached(threshold, at, spent, then("diversity"), then("drift"))


def crossing(epoch_E: Sequence[float], reward_E: Sequence[float], threshold: float) -> float:
    """The first time at which the line through the evaluations reaches the threshold; NaN where it never
    does.
    """
    for number, reward in enumerate(reward_E):
        if reward >= threshold:
            if number == 0:
                return float(epoch_E[0])
            before, step = reward_E[number - 1], epoch_E[number] - epoch_E[number - 1]
            return float(epoch_E[number - 1] + step * (threshold - before) / (reward - before))
    return float("nan")


def _column(evaluations: list[list[dict[str, Any]]], key: str) -> list[list[float]]:
    return [[row[key] for row in rows] for rows in evaluations]


def _numbers(rows: list[dict[str, Any]], key: str) -> Float[ndarray, "n t"]:
    return np.array([[np.nan if x is None else x for x in row[key]] for row in rows], np.float64)


def _steps(rows: list[dict[str, Any]], key: str) -> list[float]:
    """Means over epochs and seeds of the steps that were trained."""
    number_NT = _numbers(rows, key)
    trained = ~np.isnan(number_NT).all(axis=0)
    return [float(x) for x in np.nanmean(number_NT[:, trained], axis=0)]


def _mean(numbers: Sequence[float]) -> str:
    return "–" if not (known := list(_finite(numbers))) else f"{np.mean(known):.3g} ± {np.std(known):.2g}"


def _finite(numbers: Iterable[float]) -> Iterator[float]:
    return (number for number in numbers if np.isfinite(number))
