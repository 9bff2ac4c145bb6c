"""`kallos models`: encoders that are installed, cached, or can be fetched by name."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from indexer.encoders.openclip import OpenClipEncoder
from indexer.encoders.openclip_export import export_onnx
from indexer.encoders.registry import ModelInfo, list_models, load_encoder
from indexer.encoders.registry import download as download_weights
from indexer.errors import InvalidInputError
from service.cli.console import ERR, OUT, print_json
from service.cli.options import Json

app = typer.Typer(help="Encoders that are installed, cached, or can be fetched by name.")


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Encoders that are installed, cached, or can be fetched by name."""
    if context.invoked_subcommand is None:
        models_list()


@app.command("list")
def models_list(as_json: Json = False) -> None:
    """What can be named in --model."""
    models = list_models()
    if as_json:
        print_json({"models": [_facts(model) for model in models]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("model", "status", "dim", "MB", "licence", "note"):
        table.add_column(heading, overflow="fold")
    for model in models:
        size = "" if model.size_mb is None else f"{model.size_mb:.0f}"
        table.add_row(model.name, model.status, str(model.dim or ""), size, model.licence, model.note)
    OUT.print(table)


def _facts(model: ModelInfo) -> dict[str, object]:
    return asdict(model)


@app.command("download")
def models_download(
    name: Annotated[str, typer.Argument(help="As listed, such as open_clip:ViT-B-32/laion2b_s34b_b79k.")],
) -> None:
    """Fetch a model's weights. Nothing else in Kallos ever does."""
    download_weights(name)
    ERR.print(f"{name} is ready: kallos index --model {name} FOLDER")


@app.command("export")
def models_export(
    name: Annotated[str, typer.Argument(help="An open_clip: model that is on this machine.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
) -> None:
    """Write an open_clip model as ONNX: the same vectors on a CPU, without torch."""
    encoder = load_encoder(name, device="cpu")
    if not isinstance(encoder, OpenClipEncoder):
        raise InvalidInputError(f"{name!r} cannot be exported: expected an open_clip: model")
    written = export_onnx(encoder, folder)
    ERR.print(f"{written} is ready: kallos index --model onnx:{written} FOLDER")
