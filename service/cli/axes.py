"""`kallos axes fit|list|show|evaluate|export|import|measure|delete`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from indexer.disk.files import writing
from indexer.errors import InvalidAxisError
from indexer.filters.language import field_name
from indexer.ingest.remeasure import measure_missing
from indexer.tables.axes import Axis
from rerank.axes.evaluate import evaluate as judge
from rerank.axes.file import export_axis, import_axis
from rerank.axes.fit_axis import (
    FromExtremes,
    FromField,
    FromHead,
    FromLabels,
    FromPairs,
    FromPrompts,
    TrainingSignal,
    fit_axis,
    standardised,
)
from rerank.axes.heads import activation_named
from service.axis_schemas import AxisBody, AxisDetail, EvaluationBody
from service.cli.console import ERR, OUT, print_json
from service.cli.example_files import picture_finder, read_extremes, read_head, read_labels, read_pairs
from service.cli.options import Collection, DataDir, Json, settings_from
from service.cli.progress import FAILURES_SHOWN, Interrupt, steps_bar
from service.wiring import Library, open_library, open_measurer, open_pictures, thread_count

app = typer.Typer(help="Rank axes: attributes that pictures can be sorted by.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the axis, or NAME@VERSION.")]
Way = Callable[[Library], TrainingSignal]
WAYS = "--high and --low, --extremes, --high-id and --low-id, --pairs, --labels, --field or --head"


def _open(data_dir: DataDir, collection: Collection) -> AbstractContextManager[Library]:
    return open_library(settings_from(data_dir=data_dir, collection=collection))


def _body(axis: Axis) -> dict[str, object]:
    return AxisBody.of(axis).model_dump(mode="json")


def _print_stored(axis: Axis, as_json: bool) -> None:
    if as_json:
        print_json(_body(axis))
    else:
        OUT.print(f"{axis.name}@{axis.version} ({axis.trust}): {escape(axis.card)}")


@app.command("list")
def list_axes(data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """Every axis, and how far to trust it."""
    with _open(data_dir, collection) as library:
        axes = library.axes.list()
    if as_json:
        print_json({"axes": [_body(axis) for axis in axes]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("axis", "version", "from", "trust", "card"):
        table.add_column(heading, overflow="fold")
    for axis in axes:
        table.add_row(axis.name, str(axis.version), axis.method, axis.trust, escape(axis.card))
    OUT.print(table)


@app.command()
def show(name: Name, data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """One axis, with its card; in JSON with its direction."""
    with _open(data_dir, collection) as library:
        axis = library.axes.get(name)
        versions = library.axes.versions(axis.name)
    if as_json:
        print_json(AxisDetail.with_versions(axis, versions).model_dump(mode="json"))
        return
    OUT.print(
        f"[bold]{axis.name}@{axis.version}[/] from {axis.method}, trust {axis.trust}\n{escape(axis.card)}"
    )
    OUT.print(f"[dim]model {axis.model_id}; versions {', '.join(str(one.version) for one in versions)}[/]")


@app.command()
def fit(
    name: Annotated[str, typer.Argument(help="Name of the axis; one that exists gets a new version.")],
    high: Annotated[
        list[str] | None, typer.Option("--high", help="Words for the high end; may be repeated.")
    ] = None,
    low: Annotated[
        list[str] | None, typer.Option("--low", help="Words for the low end; may be repeated.")
    ] = None,
    extremes: Annotated[
        Path | None, typer.Option("--extremes", help="CSV of pictures of the ends: high, low.", exists=True)
    ] = None,
    high_id: Annotated[list[int] | None, typer.Option("--high-id", help="Picture of the high end.")] = None,
    low_id: Annotated[list[int] | None, typer.Option("--low-id", help="Picture of the low end.")] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="CSV of ordered pairs: more, less.", exists=True)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="CSV of labels: id, path or uri; value; group if any.", exists=True),
    ] = None,
    field: Annotated[str | None, typer.Option("--field", help="A stored number, such as taken_at.")] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", help="A published head: .safetensors, .pth.", exists=True, dir_okay=False),
    ] = None,
    activation: Annotated[
        str | None, typer.Option("--activation", help="Between the layers of the head: none, relu, gelu.")
    ] = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Teach an axis: by words, example pictures, ordered pairs, labels, a stored field, or a published head.

    Five example pictures an end do better than one; some labels do better than examples.
    """
    ways: list[Way] = []
    if high or low:
        ways.append(partial(_prompts, high or [], low or []))
    if high_id or low_id:
        ways.append(partial(_ids, high_id or [], low_id or []))
    if extremes:
        ways.append(partial(_extremes, extremes))
    if pairs:
        ways.append(partial(_pairs, pairs))
    if labels:
        ways.append(partial(_labels, labels))
    if field is not None:
        ways.append(partial(_field, field))
    if head:
        ways.append(partial(_head, head, activation))
    if len(ways) != 1:
        raise InvalidAxisError(f"expected one way: {WAYS}; got {len(ways)}")
    with _open(data_dir, collection) as library:
        signal = ways[0](library)
        axis = library.axes.put(fit_axis(name, signal, library.collection, library.encoder))
    _print_stored(axis, as_json)


def _prompts(high: list[str], low: list[str], _: Library) -> TrainingSignal:
    return FromPrompts(tuple(high), tuple(low))


def _ids(high: list[int], low: list[int], _: Library) -> TrainingSignal:
    return FromExtremes(tuple(high), tuple(low))


def _extremes(path: Path, library: Library) -> TrainingSignal:
    return FromExtremes(*read_extremes(path, picture_finder(library.collection)))


def _pairs(path: Path, library: Library) -> TrainingSignal:
    return FromPairs(read_pairs(path, picture_finder(library.collection)))


def _labels(path: Path, library: Library) -> TrainingSignal:
    return FromLabels(read_labels(path, picture_finder(library.collection)))


def _field(field: str, _: Library) -> TrainingSignal:
    return FromField(field_name(field))


def _head(path: Path, activation: str | None, _: Library) -> TrainingSignal:
    return FromHead(read_head(path), None if activation is None else activation_named(activation))


@app.command()
def evaluate(
    name: Name,
    labels: Annotated[
        Path, typer.Option("--labels", help="CSV of labels: id, path or uri; value.", exists=True)
    ],
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Judge an axis by labels; those of pictures that it was fitted on are left out."""
    with _open(data_dir, collection) as library:
        axis = library.axes.get(name)
        given = read_labels(labels, picture_finder(library.collection))
        found = judge(axis, library.axes, given, library.collection, library.encoder)
    if as_json:
        print_json(EvaluationBody.of(axis, found).model_dump(mode="json"))
        return
    if found.spearman is None or found.low is None or found.high is None or found.pearson is None:
        OUT.print(f"{axis.name}@{axis.version} gives all {found.n} pictures one value")
        return
    OUT.print(
        f"{axis.name}@{axis.version}: rank correlation {found.spearman:.3f} ({found.low:.3f} to "
        f"{found.high:.3f}, at most {found.maximum:.3f}), Pearson {found.pearson:.3f}, on {found.n} pictures"
    )
    OUT.print(
        f"[dim]left out: {found.left_out} that it was fitted on, {found.without_value} without a value[/]"
    )


@app.command("export")
def export_one(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Where to write it: FILE.safetensors.", dir_okay=False)],
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Write an axis to one file, for `kallos axes import` elsewhere."""
    with _open(data_dir, collection) as library:
        axis = library.axes.get(name)
        content = export_axis(axis, library.axes)
    with writing(file):
        file.write_bytes(content)
    if as_json:
        print_json({"exported": f"{axis.name}@{axis.version}", "file": str(file)})
    else:
        OUT.print(f"{axis.name}@{axis.version}: {file}")


@app.command("import")
def import_one(
    file: Annotated[
        Path, typer.Argument(help="What `kallos axes export` wrote.", exists=True, dir_okay=False)
    ],
    name: Annotated[str | None, typer.Option("--name", help="Instead of the name in the file.")] = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Store an axis from a file, as the newest version of its name."""
    with _open(data_dir, collection) as library:
        read = import_axis(file.read_bytes(), library.encoder, name=name)
        axis = library.axes.put(standardised(read, library.collection))
    _print_stored(axis, as_json)


@app.command()
def measure(data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """Measure pictures that lack it: colourfulness, brightness, sharpness, and what KALLOS_SCORER says.

    Stop it and run it again: it goes on where it was. What a person wrote stays.
    """
    settings = settings_from(data_dir=data_dir, collection=collection)
    measurer = open_measurer(settings)
    with (
        open_library(settings) as library,
        open_pictures(settings) as pictures,
        steps_bar() as bar,
        Interrupt() as stop,
    ):
        task = bar.add_task("measuring", total=None, rate="")
        report = measure_missing(
            library.collection,
            pictures.thumbnails,
            pictures.original,
            pictures.limits,
            threads=thread_count(settings),
            measurer=measurer,
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
    """Forget every version of an axis, or of NAME@VERSION that one."""
    with _open(data_dir, collection) as library:
        library.axes.delete(name)
    if as_json:
        print_json({"deleted": name})
    else:
        OUT.print(f"deleted {name}")
