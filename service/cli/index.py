"""`kallos index`."""

import signal
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from indexer.ingest.ingest import IngestReport
from indexer.ingest.ingest import Progress as Count
from indexer.sources.sources import open_source
from service.cli.options import Collection, DataDir, Json, Model, settings_from
from service.cli.output import ERR, OUT, print_json
from service.index_job import merged, report_json
from service.wiring import Services, open_services

FAILURES_SHOWN = 20  # on a terminal; --json lists all


def index(
    sources: Annotated[
        list[str], typer.Argument(help="Folders, pictures, tar shards, or CSV and parquet lists.")
    ],
    sync: Annotated[
        bool, typer.Option("--sync", help="Also forget pictures that are gone, and follow moved ones.")
    ] = False,
    data_dir: DataDir = None,
    collection: Collection = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Add pictures to the collection. Stop it and run it again: it goes on where it was."""
    settings = settings_from(data_dir=data_dir, collection=collection, model=model)
    services = open_services(settings, create=True)
    try:
        report = run_sources(services, sources, sync=sync)
    finally:
        services.close()
    if as_json:
        print_json(report_json(report))
    else:
        _print(report)
    if report.stopped:
        raise typer.Exit(130)


def run_sources(services: Services, sources: list[str], *, sync: bool) -> IngestReport:
    """Index `sources` one after the other, with a progress bar on stderr and a polite Ctrl-C."""
    total = IngestReport()
    opened = [open_source(source, limits=services.limits, fetch=services.fetcher.fetch) for source in sources]
    with ExitStack() as stack:
        bar = stack.enter_context(steps_bar())
        stop = stack.enter_context(Interrupt())
        for name, source in zip(sources, opened, strict=True):
            task = bar.add_task(name, total=None, rate="")

            def show(count: Count, task: int = task) -> None:
                rate = f"{count.done / count.seconds:.0f}/s" if count.seconds > 0.5 else ""
                failed = f"  {count.failed} failed" if count.failed else ""
                bar.update(TaskID(task), completed=count.done, total=count.total, rate=rate + failed)

            ingest = replace(services.ingest(sync=sync), on_progress=show, should_stop=stop.is_set)
            total = merged(total, ingest.run(source))
            if total.stopped:
                break
    return total


class Interrupt:
    """Ctrl-C once: finish what is in flight and say where things stand. Twice: stop at once."""

    def __init__(self) -> None:
        self._asked = False

    def is_set(self) -> bool:
        return self._asked

    def __enter__(self) -> "Interrupt":
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        ERR.print("stopping after what is in flight; press Ctrl-C again to stop at once")


def steps_bar() -> Progress:
    """A progress bar on stderr with a rate and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=ERR,
    )


def _print(report: IngestReport) -> None:
    parts = [f"{report.indexed} indexed", f"{report.unchanged} unchanged"]
    parts += [f"{n} {word}" for n, word in ((report.moved, "moved"), (report.deleted, "deleted")) if n]
    parts += [f"{len(report.failed)} failed"] if report.failed else []
    OUT.print(", ".join(parts) + f" in {report.seconds:.1f} s")
    for item in report.failed[:FAILURES_SHOWN]:
        ERR.print(f"  {item.reason}: {item.uri}: {item.message}", markup=False, soft_wrap=True)
    if len(report.failed) > FAILURES_SHOWN:
        ERR.print(f"  … and {len(report.failed) - FAILURES_SHOWN} more; --json lists all")
    for warning in report.warnings[:FAILURES_SHOWN]:
        ERR.print(f"  note: {warning}", markup=False, soft_wrap=True)
    if report.stopped:
        ERR.print("stopped; run the same command again to go on")
