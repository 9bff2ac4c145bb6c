"""`kallos-train spro-prompt|spro-image|spro-evaluate`. torch is imported when a command runs."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from training.config import read_config
from training.heavy import heavy_imports
from training.spro.config import SproConfig

ConfigFile = Annotated[Path, typer.Option("--config", help="The run, a TOML file.")]
Out = Annotated[Path, typer.Option(help="The folder of the run; a killed one goes on from here.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the run: everything that is drawn follows from it.")]
Threads = Annotated[int, typer.Option(min=1, help="Of the CPU. Other numbers may give other last bits.")]


def spro_prompt(config: ConfigFile, out: Out, seed: Seed = 0, threads: Threads = 1) -> None:
    """Rounds of self-play: the Guider learns from its best and worst prompts."""
    settings = read_config(SproConfig, config)
    _recipe(threads).run_prompt(settings, seed, out, threads, _say)


def spro_image(config: ConfigFile, out: Out, seed: Seed = 0, threads: Threads = 1) -> None:
    """Fine-tune the generator on plain captions with the winners' pictures of `spro-prompt`."""
    settings = read_config(SproConfig, config)
    _recipe(threads).run_image(settings, seed, out, _say)


def spro_evaluate(config: ConfigFile, out: Out, seed: Seed = 0, threads: Threads = 1) -> None:
    """Held-out captions: plain, untrained Guider, each round, SPRO-Image, SPRO-MM. Prints the table."""
    settings = read_config(SproConfig, config)
    sys.stdout.write(_recipe(threads).run_evaluate(settings, seed, out, threads, _say))


def _recipe(threads: int) -> ModuleType:
    with heavy_imports("train,llm"):
        import torch

        from training.spro import recipe
    torch.set_num_threads(threads)
    return recipe


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
