"""`kallos generators`: what can draw a picture when nothing matches."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rerank.generate.registry import download, list_generators
from service.cli.options import Json
from service.cli.output import ERR, OUT, print_json

app = typer.Typer(help="Generators that are installed, cached, or can be fetched by name.")


@app.callback(invoke_without_command=True)
def generators(context: typer.Context) -> None:
    """Generators that are installed, cached, or can be fetched by name."""
    if context.invoked_subcommand is None:
        generators_list()


@app.command("list")
def generators_list(as_json: Json = False) -> None:
    """What KALLOS_GENERATOR may be."""
    found = list_generators()
    if as_json:
        print_json({"generators": [asdict(info) for info in found]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("generator", "status", "family", "MB", "licence", "note"):
        table.add_column(heading, overflow="fold")
    for info in found:
        size = "" if info.size_mb is None else str(info.size_mb)
        # Licences have brackets in their names, which a table would read as colours.
        cells = (info.name, info.status, info.family, size, info.licence, info.note)
        table.add_row(*map(escape, cells))
    OUT.print(table)


@app.command("download")
def generators_download(
    name: Annotated[str, typer.Argument(help="As listed, or any diffusers:org/name of the same families.")],
    half: Annotated[
        bool, typer.Option("--half", help="Files of half the size, where there are any.")
    ] = False,
) -> None:
    """Fetch a pipeline into the Hugging Face cache. HF_TOKEN is used where a licence has to be accepted."""
    folder = download(name, half=half)
    ERR.print(f"{name} is ready in {folder}: KALLOS_GENERATOR={name}", markup=False, soft_wrap=True)
