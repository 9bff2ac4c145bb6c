"""`kallos verify`, `kallos compact`, `kallos delete`, `kallos models`: care of what there is."""

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
from indexer.types import ImageId
from indexer.verify import verify as run_verify
from service.cli.options import Collection, DataDir, Json, settings_from
from service.cli.output import ERR, OUT, print_json
from service.uploads import forget
from service.wiring import open_services


def verify(
    full: Annotated[bool, typer.Option("--full", help="Read every vector too.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Check that database, vectors and index agree. Exit status 1 when they do not."""
    report = run_verify(settings_from(data_dir=data_dir).data_dir, full=full)
    problems = [{"code": p.code, "where": p.where, "message": p.message} for p in report.problems]
    if as_json:
        print_json({"problems": problems, "checked": dict(report.checked)})
    else:
        for problem in report.problems:
            OUT.print(f"{problem.code}: {problem.where}: {problem.message}", markup=False, soft_wrap=True)
        checked = ", ".join(f"{count} {name}" for name, count in report.checked.items())
        OUT.print(f"{len(problems)} problems; checked {checked}")
    if problems:
        raise typer.Exit(1)


def compact(data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """Build the search index anew over everything stored so far."""
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=False)
    try:
        report = services.collection.compact()
    finally:
        services.close()
    facts = {"family": report.family or "exact", "built": report.built, "seconds": round(report.seconds, 3)}
    if as_json:
        print_json(facts)
    else:
        OUT.print(f"{facts['family']} index over {report.built} pictures in {report.seconds:.1f} s")


def delete(
    ids: Annotated[list[int], typer.Argument(help="Ids of pictures to forget. Local files stay.")],
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Forget pictures."""
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=False)
    try:
        forget(services, [ImageId(number) for number in ids])
    finally:
        services.close()
    if as_json:
        print_json({"deleted": ids})
    else:
        OUT.print(f"{len(ids)} deleted")


models_app = typer.Typer(help="Encoders that are installed, cached, or can be fetched by name.")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Encoders that are installed, cached, or can be fetched by name."""
    if context.invoked_subcommand is None:
        models_list()


@models_app.command("list")
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


@models_app.command("download")
def models_download(
    name: Annotated[str, typer.Argument(help="As listed, such as open_clip:ViT-B-32/laion2b_s34b_b79k.")],
) -> None:
    """Fetch a model's weights. Nothing else in Kallos ever does."""
    download_weights(name)
    ERR.print(f"{name} is ready: kallos index --model {name} FOLDER")


@models_app.command("export")
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
