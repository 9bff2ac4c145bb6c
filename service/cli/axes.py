"""`kallos axes fit|list|show|measure|delete`."""

from typing import Annotated

import typer
from rich.table import Table

from indexer.axis_store import Axis
from indexer.errors import InvalidAxisError
from indexer.remeasure import measure_missing
from rerank.teach import teach_by_extremes, teach_by_field, teach_by_prompts
from service.cli.index import FAILURES_SHOWN, Interrupt, steps_bar
from service.cli.options import Collection, DataDir, Json, settings_from
from service.cli.output import ERR, OUT, print_json
from service.schemas import AxisBody
from service.wiring import Services, open_services

app = typer.Typer(help="Rank axes: attributes that pictures can be sorted by.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the axis.")]


def _open(data_dir: DataDir, collection: Collection) -> Services:
    return open_services(settings_from(data_dir=data_dir, collection=collection), create=False)


def _body(axis: Axis) -> dict[str, object]:
    return AxisBody.of(axis).model_dump(mode="json")


@app.command("list")
def list_axes(data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """Every axis, and how far to trust it."""
    axes = _open(data_dir, collection).axes.list()
    if as_json:
        print_json({"axes": [_body(axis) for axis in axes]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("axis", "version", "from", "trust", "card"):
        table.add_column(heading, overflow="fold")
    for axis in axes:
        table.add_row(axis.name, str(axis.version), axis.method, axis.trust, axis.card)
    OUT.print(table)


@app.command()
def show(name: Name, data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """One axis, with its card."""
    axis = _open(data_dir, collection).axes.get(name)
    if as_json:
        print_json(_body(axis))
    else:
        OUT.print(f"[bold]{axis.name}@{axis.version}[/] from {axis.method}, trust {axis.trust}\n{axis.card}")


@app.command()
def fit(
    name: Name,
    high: Annotated[
        list[str] | None, typer.Option("--high", help="Words for the high end; may be repeated.")
    ] = None,
    low: Annotated[
        list[str] | None, typer.Option("--low", help="Words for the low end; may be repeated.")
    ] = None,
    high_id: Annotated[list[int] | None, typer.Option("--high-id", help="Picture of the high end.")] = None,
    low_id: Annotated[list[int] | None, typer.Option("--low-id", help="Picture of the low end.")] = None,
    field: Annotated[str | None, typer.Option("--field", help="A stored number, such as taken_at.")] = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Teach an axis: by words, by example pictures (five an end do better than one), or from a field."""
    ways = [bool(high or low), bool(high_id or low_id), field is not None]
    if sum(ways) != 1:
        raise InvalidAxisError("expected one way: --high and --low, or --high-id and --low-id, or --field")
    services = _open(data_dir, collection)
    if field is not None:
        axis = teach_by_field(name, field, services.collection, services.encoder)
    elif ways[0]:
        axis = teach_by_prompts(name, high or [], low or [], services.encoder)
    else:
        axis = teach_by_extremes(name, high_id or [], low_id or [], services.collection, services.encoder)
    stored = services.axes.put(axis)
    if as_json:
        print_json(_body(stored))
    else:
        OUT.print(f"{stored.name}@{stored.version}: {stored.card}")


@app.command()
def measure(data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """Measure pictures that an older version indexed: for colourfulness, brightness and sharpness.

    Stop it and run it again: it goes on where it was. What a person wrote stays.
    """
    services = _open(data_dir, collection)
    with steps_bar() as bar, Interrupt() as stop:
        task = bar.add_task("measuring", total=None, rate="")
        report = measure_missing(
            services.collection,
            services.thumbnails,
            lambda row: services.originals.read(row, services.fetcher.fetch),
            services.limits,
            threads=services.threads,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            should_stop=stop.is_set,
        )
    if as_json:
        print_json({"measured": report.measured, "failed": report.failed, "stopped": report.stopped})
    else:
        OUT.print(f"{report.measured} measured" + (f", {len(report.failed)} failed" if report.failed else ""))
        for image_id, reason in list(report.failed.items())[:FAILURES_SHOWN]:
            ERR.print(f"  {image_id}: {reason}", markup=False, soft_wrap=True)
    if report.stopped:
        raise typer.Exit(130)


@app.command()
def delete(
    name: Name, data_dir: DataDir = None, collection: Collection = None, as_json: Json = False
) -> None:
    """Forget every version of an axis."""
    _open(data_dir, collection).axes.delete(name)
    if as_json:
        print_json({"deleted": name})
    else:
        OUT.print(f"deleted {name}")
