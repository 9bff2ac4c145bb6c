"""`kallos verify`, `stats`, `compact`, `backup`, `restore`, `delete`, `models`: care of what there is."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from indexer.ann.build import BuildStopped, Watch
from indexer.ann.index import FAMILIES, GPU_FAMILIES, Family
from indexer.ann.plan import Plan
from indexer.collection.backup import BackupReport
from indexer.collection.backup import backup as run_backup
from indexer.collection.backup import restore as run_restore
from indexer.collection.collection import Collection as Store
from indexer.collection.compaction import Aims, CompactReport, plan_for
from indexer.collection.compaction import compact as run_compact
from indexer.collection.verify import verify as run_verify
from indexer.encoders.openclip import OpenClipEncoder
from indexer.encoders.openclip_export import export_onnx
from indexer.encoders.registry import ModelInfo, list_models, load_encoder
from indexer.encoders.registry import download as download_weights
from indexer.errors import InvalidInputError
from indexer.types import ImageId
from service.cli.index import Interrupt, steps_bar
from service.cli.options import Collection, DataDir, Json, settings_from
from service.cli.output import ERR, OUT, print_json
from service.stats import stats_of
from service.upkeep import aims_of, report_json
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


def compact(
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="ivf_rabitq, ivf_sq8, hnsw, or for a GPU flat or cagra, whatever the plan says.",
        ),
    ] = None,
    reclaim: Annotated[
        bool | None,
        typer.Option(
            "--reclaim/--keep", help="Give back the space of deleted pictures; default: when it pays."
        ),
    ] = None,
    show_plan: Annotated[bool, typer.Option("--plan", help="Only say what would be built, and why.")] = False,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Build the search index anew over everything stored so far."""
    wanted = _family(family)
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=False)
    try:
        aims = aims_of(services, background=False)
        if show_plan:
            _print_plan(plan_for(services.collection, aims), as_json)
            return
        report = _compact(services.collection, aims, wanted, reclaim)
    finally:
        services.close()
    if as_json:
        print_json(report_json(report))
        return
    freed = f", {report.freed_bytes / 1e6:.1f} MB given back" if report.reclaimed else ""
    name = report.family or "exact"
    OUT.print(f"{name} index over {report.built} pictures in {report.seconds:.1f} s{freed}")


def _compact(collection: Store, aims: Aims, family: Family | None, reclaim: bool | None) -> CompactReport:
    """With a progress bar; Ctrl-C keeps what is done, and the next call goes on from there."""
    with steps_bar() as bar, Interrupt() as stop:
        task = bar.add_task("preparing", total=None, rate="")

        def tell(stage: str, done: int, of: int) -> None:
            bar.update(task, description=stage, completed=done, total=of or None)

        try:
            return run_compact(
                collection, aims, family=family, reclaim=reclaim, watch=Watch(tell, stop.is_set)
            )
        except BuildStopped as error:
            ERR.print("stopped; run the same command again to go on")
            raise typer.Exit(130) from error


def _family(name: str | None) -> Family | None:
    families = (*FAMILIES, *GPU_FAMILIES)
    for family in families:
        if name == family:
            return family
    if name is not None:
        raise InvalidInputError(f"{name!r} is not a kind of index: expected {', '.join(families)}")
    return None


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json({"family": plan.chosen.name, "options": [asdict(option) for option in plan.options]})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("index", "resident MB", "ms a query", "build s", "verdict"):
        table.add_column(heading)
    for option in plan.options:
        figures = (f"{option.resident_mb:.0f}", f"{option.query_ms:.1f}", f"{option.build_s:.0f}")
        table.add_row(option.name, *figures, option.verdict)
    OUT.print(table)


def stats(data_dir: DataDir = None, collection: Collection = None, as_json: Json = False) -> None:
    """What there is, what the index covers, and how well live searches did."""
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=False)
    try:
        found = stats_of(services)
    finally:
        services.close()
    if as_json:
        print_json({**asdict(found), "alert": found.alert})
        return
    OUT.print(f"{found.images} pictures, generation {found.generation}, {found.disk_bytes / 1e6:.1f} MB")
    OUT.print(f"model {found.model}", markup=False)
    behind = f"{found.unindexed_rows} behind it, {found.deleted_rows} deleted"
    OUT.print(
        f"index {found.index} over {found.indexed_rows} rows, {behind}; searched on {found.index_device}"
    )
    if found.recall is None:
        OUT.print("recall: not measured yet; a server measures a share of its approximate searches")
    else:
        interval = f"95 % interval {found.recall.low:.3f} to {found.recall.high:.3f}"
        OUT.print(f"recall@10 {found.recall.recall:.3f} ({interval}) of {found.recall.samples} live searches")
    if found.alert:
        ERR.print(f"recall is below {found.recall_alert}: run `kallos compact`", style="red")


def backup(
    target: Annotated[Path, typer.Argument(help="A folder; what it has already is not copied again.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Copy everything into a folder, while others read and write."""
    with ERR.status("copying") as status:
        report = run_backup(
            settings_from(data_dir=data_dir).data_dir, target, tell=lambda name: status.update(name)
        )
    _print_copied(report, target, as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `kallos backup` made.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Check a backup, and copy it into a data directory that is missing or empty."""
    target = settings_from(data_dir=data_dir).data_dir
    with ERR.status("checking") as status:
        report = run_restore(source, target, tell=lambda name: status.update(name))
    _print_copied(report, target, as_json)


def _print_copied(report: BackupReport, target: Path, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
    else:
        copied = f"{report.files_copied} files, {report.bytes_copied / 1e6:.1f} MB copied"
        OUT.print(f"{report.images} pictures in {target}: {copied} in {report.seconds:.1f} s", markup=False)


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
