"""`kallos-train pcpo|ddpo|dance-grpo|flow-grpo` and `kallos-train compare`. torch is imported when one
runs.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.config import read_config
from training.heavy import heavy_imports
from training.policy_gradient.config import PolicyGradientConfig

ALGORITHMS = {
    "pcpo": "Proportionate Credit Policy Optimization: the log-hinge with proportionate weights.",
    "ddpo": "Denoising Diffusion Policy Optimization: PPO's clip on every denoising step.",
    "dance-grpo": "DanceGRPO: PPO's clip with advantages within groups, on some of the steps.",
    "flow-grpo": "Flow-GRPO: PPO's clip with a pull towards the base model.",
}

Config = Annotated[Path, typer.Option("--config", help="The run, a TOML file.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of a run.")]


def add_commands(app: typer.Typer) -> None:
    for name, what in ALGORITHMS.items():
        app.command(name, help=what)(_command(name))
    app.command("compare")(compare)


def _command(name: str) -> Callable[..., None]:
    def train(
        out: Annotated[Path, typer.Option(help="The run's folder; a stopped run goes on from there.")],
        config: Config = Path("configs/cpu_toy_flow.toml"),
        algorithm: Annotated[
            str, typer.Option(help="A table below [algorithms]; the command's own name if not given.")
        ] = name,
        seed: Annotated[int | None, typer.Option(help="In place of the configuration's.")] = None,
        threads: Threads = 1,
    ) -> None:
        settings = read_config(PolicyGradientConfig, config)
        if seed is not None:
            settings = replace(settings, seed=seed)
        settings.algorithm(algorithm)  # refused before anything large is read
        _run(settings, algorithm, out, threads)

    return train


def compare(
    algorithms: Annotated[list[str], typer.Argument(help="Tables below [algorithms], two or more.")],
    config: Config = Path("configs/cpu_toy.toml"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each algorithm, seeds 0, 1, …")] = 5,
    out: Annotated[
        Path, typer.Option(help="Runs, report.json, curves.png; runs that are there go on.")
    ] = Path("runs/compare"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at the same time, one thread each.")] = 2,
) -> None:
    """Train all of them from the same base with the same budget; curves, thresholds, gradients, diversity."""
    settings = read_config(PolicyGradientConfig, config)
    for name in algorithms:
        settings.algorithm(name)
    with heavy_imports():
        from training.policy_gradient.compare import report, train_all
        from training.policy_gradient.compare_plot import draw

    train_all(algorithms, config, range(seeds), out, workers)
    found = report(algorithms, settings, range(seeds), out)
    draw(found, out / "curves.png")
    sys.stdout.write(found.table())


def _run(settings: PolicyGradientConfig, algorithm: str, out: Path, threads: int) -> None:
    with heavy_imports():
        import torch

        from training.policy_gradient.processes import Processes
        from training.policy_gradient.run import Run
        from training.policy_gradient.wiring import load_parts
    torch.set_num_threads(threads)
    parts = load_parts(settings, threads=threads)
    processes = Processes(cpu=parts.policy.device.type == "cpu")
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("reward {task.fields[reward]:.4g}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not processes.is_first,
    ) as progress:
        task = progress.add_task(
            f"{algorithm} {settings.seed}", total=settings.training.epochs, reward=float("nan")
        )
        outcome = Run(
            settings,
            algorithm,
            parts,
            out,
            processes,
            lambda epoch, reward: progress.update(task, completed=epoch, reward=reward),
        ).run()
    if processes.is_first:
        sys.stdout.write(f"{outcome.folder}\tepoch {outcome.epoch}\t{outcome.stopped or 'done'}\n")
