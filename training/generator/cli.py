"""`kallos-train generator …` and `kallos-train evaluate generator`. torch is imported when a command runs."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rerank.generate.builtin.generator import FOLDER
from training.config import read_config
from training.generator import materials
from training.generator.config import RECIPE, GeneratorConfig
from training.generator.report import draw_sheets, report
from training.heavy import heavy_imports

generator_app = typer.Typer(no_args_is_help=True, help="The builtin generator.")

ConfigFile = Annotated[Path, typer.Option("--config", help="The recipe, a TOML file.")]
Material = Annotated[Path, typer.Option(help="Where `generator fetch` put the drawings.")]


@generator_app.command("fetch")
def fetch(folder: Material = Path(".cache/generator")) -> None:
    """Fetch the drawings with npm."""
    materials.fetch(folder)


@generator_app.command("train")
def train(
    out: Annotated[Path, typer.Option(help="The folder that the pipeline goes to.")],
    config: ConfigFile = RECIPE,
    folder: Material = Path(".cache/generator"),
    work: Annotated[Path, typer.Option(help="Checkpoints; a stopped run goes on from here.")] = Path(
        "runs/generator"
    ),
) -> None:
    """Prepare, train, save as a diffusers folder with an ONNX graph, measure it, write its card."""
    settings = read_config(GeneratorConfig, config)
    with heavy_imports():
        from training.generator import recipe
    recipe.run(settings, folder, work, out)
    report(settings, folder, out)


def evaluate_generator(
    config: ConfigFile = RECIPE,
    folder: Material = Path(".cache/generator"),
    weights: Annotated[Path, typer.Option(help="A folder that `generator train` wrote.")] = FOLDER,
    sheets: Annotated[Path | None, typer.Option(help="Write contact sheets into this folder.")] = None,
    seed: int = 0,
) -> None:
    """Are its pictures recognised, diverse, and more than copies? One JSON document; writes the card anew."""
    settings = read_config(GeneratorConfig, config)
    found = report(settings, folder, weights, seed=seed)
    if sheets is not None:
        draw_sheets(settings, folder, weights, sheets, seed=seed)
    sys.stdout.write(json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n")
