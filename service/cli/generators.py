"""`kallos generator`: what can draw a picture when nothing matches, and what does. `generators` is older."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from indexer.blobs.deployed import DeployedStore
from indexer.types import JSONValue
from rerank.generate.registry import download, list_generators
from service.cli.console import ERR, OUT, print_json
from service.cli.options import DataDir, Json, settings_from
from service.generation.deploy import Deployer, Deployment
from service.generation.option_names import with_settings
from service.settings import Settings
from service.wiring import generator_loader, open_generator

app = typer.Typer(help="What can draw a picture, and which trained generator is in service.")
choice_app = typer.Typer(help="What can draw a picture: `list` and `download` of `kallos generator`.")


@app.callback(invoke_without_command=True)
@choice_app.callback(invoke_without_command=True)
def generators(context: typer.Context) -> None:
    """What can draw a picture, and which trained generator is in service."""
    if context.invoked_subcommand is None:
        generators_list()


@app.command("list")
@choice_app.command("list")
def generators_list(as_json: Json = False) -> None:
    """What KALLOS_GENERATOR may be."""
    found = [replace(info, note=with_settings(info.note)) for info in list_generators()]
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
@choice_app.command("download")
def generators_download(
    name: Annotated[str, typer.Argument(help="As listed, or any diffusers:org/name of the same families.")],
    half: Annotated[
        bool, typer.Option("--half", help="Files of half the size, where there are any.")
    ] = False,
) -> None:
    """Fetch a pipeline into the Hugging Face cache. HF_TOKEN is used where a licence has to be accepted."""
    folder = download(name, half=half)
    ERR.print(f"{name} is ready in {folder}: KALLOS_GENERATOR={name}", markup=False, soft_wrap=True)


@app.command("use")
def generator_use(
    run: Annotated[Path, typer.Argument(help="The folder of a training run that has ended.")],
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Although no comparison says that it is better; kept in the history."),
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put a trained generator in service. A running server draws its next picture with it."""
    settings = settings_from(data_dir=data_dir)
    done = _deployer(settings).use(run, anyway=anyway)
    for objection in done.objections:
        ERR.print(f"overridden: {objection}", markup=False, soft_wrap=True)
    _print_deployment(done, settings, as_json)


@app.command("rollback")
def generator_rollback(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Go back to the generator that was in service before; again: to the one before that."""
    settings = settings_from(data_dir=data_dir)
    _print_deployment(_deployer(settings).rollback(), settings, as_json)


@app.command("show")
def generator_show(data_dir: DataDir = None, as_json: Json = False) -> None:
    """What is in service, where it came from, and what was in service before."""
    settings = settings_from(data_dir=data_dir)
    store = DeployedStore(settings.data_dir)
    state, model_id = store.state(), open_generator(settings).model_id
    facts = {} if state.current is None else dict(store.manifest(state.current).facts)
    if as_json:
        print_json(
            {
                "model_id": model_id,
                "setting": settings.generator,
                "id": state.current,
                "facts": facts,
                "before": list(state.ids[:-1]),
                "history": [dict(entry) for entry in state.log],
            }
        )
        return
    OUT.print(f"in service: {model_id}", markup=False)
    for name, value in facts.items():
        OUT.print(f"  {name}: {value}", markup=False)
    for entry in state.log:
        OUT.print(_line(entry), markup=False)
    _warn(settings)


def _deployer(settings: Settings) -> Deployer:
    return Deployer(DeployedStore(settings.data_dir), generator_loader(settings))


def _line(entry: Mapping[str, JSONValue]) -> str:
    at = entry["at"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else str(at)
    overridden = " anyway" if entry.get("objections") else ""
    return f"{when}  {entry['did']} {entry['id']}{overridden}"


def _print_deployment(done: Deployment, settings: Settings, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(done), "setting": settings.generator})
    else:
        OUT.print(f"in service: {done.model_id}; before: {done.before}", markup=False)
    _warn(settings)


def _warn(settings: Settings) -> None:
    if settings.generator is not None:
        ERR.print(
            f"KALLOS_GENERATOR is {settings.generator}, which wins: a server that has it draws with that",
            markup=False,
            soft_wrap=True,
        )
