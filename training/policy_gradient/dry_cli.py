"""`kallos-train dry-run`. torch is imported when the command runs."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rerank.generate.request import BUILTIN
from training.config import read_config
from training.heavy import heavy_imports
from training.policy_gradient.config import PolicyGradientConfig


def dry_run(
    config: Annotated[Path, typer.Option("--config", help="The run, a TOML file.")],
    gpus: Annotated[int, typer.Option(min=1, help="That share an epoch's pictures, for the estimate.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="Keep the runs' folders below this one.")] = None,
) -> None:
    """How much GPU memory a run needs; then each of its algorithms makes two updates of random weights."""
    settings = read_config(PolicyGradientConfig, config)
    with heavy_imports():
        from training.policies.registry import TINY, tiny_name
        from training.policy_gradient import dry_run as miniature
        from training.policy_gradient.memory import estimate
    name = tiny_name(settings.policy.name)
    with tempfile.TemporaryDirectory() as scratch:
        for algorithm in settings.algorithms:
            if name != BUILTIN:
                family = name.removeprefix(TINY)
                found = estimate(settings, algorithm, family, processes=gpus)
                sys.stdout.write(f"{algorithm}, on each of {gpus} GPU(s):\n{found.table()}\n")
            outcome = miniature.dry_run(settings, algorithm, (keep or Path(scratch)) / algorithm)
            sys.stdout.write(f"{algorithm}: two updates of {name} went well ({outcome.folder})\n\n")
