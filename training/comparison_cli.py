"""`kallos-train evaluate run`: what `kallos generator use` wants to see."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from indexer.blobs.deployed import DeployedStore
from indexer.errors import InvalidInputError
from rerank.generate.registry import load_generator
from rerank.generate.request import Generator
from rerank.generate.tuned.deployed import base_folder, load_in_service
from rerank.generate.tuned.run import assemble, read_run
from training.config import of_table
from training.heavy import heavy_imports
from training.prompts.prompt_set import PromptsConfig, load_prompts
from training.rewards.config import RewardConfig
from training.rewards.registry import RewardLoader
from training.run_folder import CARD


def evaluate_run(
    run: Annotated[Path, typer.Argument(help="The folder of a training run that has ended.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Compare with what is in service there; else with the base model.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=2, help="Held-out prompts.")] = 48,
    seeds: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Draw held-out prompts with the run's weights and without; write comparison.json and comparison.png."""
    with heavy_imports():
        from training.comparison import Sides, compare
        from training.policy_gradient.wiring import reward_set_of

    found = read_run(run)
    config = json.loads((run / CARD).read_text("utf-8"))["config"]
    reward_set = reward_set_of(
        _reward(config["reward"], run),
        [_reward(table, run) for table in config["held_out"]],
        RewardLoader(threads=threads),
    )
    asked = [prompt.text for prompt in load_prompts(PromptsConfig(**config["prompts"])).held_out][:prompts]

    def load(name: str, tuned: Path | None) -> Generator:
        return load_generator(name, tuned=tuned, threads=threads)

    with tempfile.TemporaryDirectory() as scratch:
        out, store = Path(scratch) / "tuned", DeployedStore(data_dir or Path(scratch))
        out.mkdir()
        assemble(found, base_folder(store, found), out)
        current = store.state().current
        against = load(found.base, None) if current is None else load_in_service(store, current, load)
        sides = Sides(found.id, against, load(found.base, out))
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("drawing", total=2 * len(asked) * seeds)
            compared = compare(run, sides, asked, range(seeds), reward_set, lambda: progress.advance(task))
    sys.stdout.write(_table(compared))


def _reward(table: dict[str, Any], run: Path) -> RewardConfig:
    """As the card has it: empty lists are left out, which a file could not say."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {name: clean(inner) for name, inner in value.items() if inner != []}
        return [clean(inner) for inner in value] if isinstance(value, list) else value

    found = clean(table)
    if not isinstance(found, dict):
        raise InvalidInputError(f"{run / CARD}: {table!r}: expected a reward")
    return of_table(RewardConfig, found, str(run / CARD))


def _table(compared: dict[str, Any]) -> str:
    rows = [compared["reward"], compared["held_out"], *compared["also_held_out"]]
    lines = [
        f"{row['name']}\t{row['base']:.4g}\t{row['tuned']:.4g}\t{row['difference']:+.4g}\t"
        f"[{row['low']:+.4g}, {row['high']:+.4g}]"
        for row in rows
    ]
    diversity = compared["diversity"]
    lines.append(f"diversity\t{diversity['base']:.3g}\t{diversity['tuned']:.3g}")
    lines.append(f"drift\t\t{compared['drift']:.3g}")
    return "\n".join(lines) + "\n"
