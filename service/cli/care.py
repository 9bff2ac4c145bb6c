"""`kallos verify`, `stats`, `compact`, `backup`, `restore` and `delete`: care of what there is."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from indexer.ann.build import BuildStopped, Watch
from indexer.ann.index import FAMILIES, GPU_FAMILIES, Family
from indexer.ann.plan import Plan
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.backup import BackupReport
from indexer.collection.backup import backup as run_backup
from indexer.collection.backup import restore as run_restore
from indexer.collection.collection import Collection as Store
from indexer.collection.compaction import Aims, CompactReport, plan_for
from indexer.collection.compaction import compact as run_compact
from indexer.collection.verify import verify as run_verify
from indexer.errors import InvalidInputError
from indexer.types import ImageId
from service.cli.console import ERR, OUT, print_json
from service.cli.options import Collection, DataDir, Json, settings_from
from service.cli.progress import Interrupt, steps_bar
from service.stats import stats_of
from service.upkeep import aims_of, report_json
from service.uploads import forget
from service.wiring import open_archive, open_collection, open_library


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
    settings = settings_from(data_dir=data_dir, collection=collection)
    with open_library(settings) as library:
        aims = aims_of(settings, library.encoder, background=False)
        if show_plan:
            _print_plan(plan_for(library.collection, aims), as_json)
            return
        report = _compact(library.collection, aims, wanted, reclaim)
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
    settings = settings_from(data_dir=data_dir, collection=collection)
    with open_collection(settings) as opened:
        found = stats_of(opened, settings.recall_alert)
    if as_json:
        print_json({**asdict(found), "alert": found.alert})
        return
    OUT.print(f"{found.images} pictures, version {found.data_version}, {found.disk_bytes / 1e6:.1f} MB")
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
    settings = settings_from(data_dir=data_dir, collection=collection)
    with open_collection(settings) as opened:
        image_service = open_archive(settings, opened)
        forget(opened, ThumbnailStore(settings.data_dir), image_service, [ImageId(number) for number in ids])
    if as_json:
        print_json({"deleted": ids})
    else:
        OUT.print(f"{len(ids)} deleted")
