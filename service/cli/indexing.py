"""Pictures of a command into a collection, while a person watches."""

from contextlib import ExitStack
from dataclasses import replace

from rich.progress import TaskID

from indexer.ingest.ingest import IngestReport
from indexer.ingest.ingest import Progress as Count
from indexer.sources.open import open_source
from service.cli.console import ERR, OUT
from service.cli.progress import FAILURES_SHOWN, Interrupt, steps_bar
from service.index_job import merged
from service.settings import Settings
from service.wiring import open_intake, open_library, open_pictures


def run_sources(settings: Settings, sources: list[str], *, sync: bool) -> IngestReport:
    """Index `sources` one after the other, with a progress bar on stderr and a polite Ctrl-C."""
    total = IngestReport()
    with ExitStack() as stack:
        pictures = stack.enter_context(open_pictures(settings))
        opened = [
            open_source(source, limits=pictures.limits, fetch=pictures.fetcher.fetch) for source in sources
        ]
        library = stack.enter_context(open_library(settings, create=True))
        intake = open_intake(settings, library, pictures)
        bar = stack.enter_context(steps_bar())
        stop = stack.enter_context(Interrupt())
        for name, source in zip(sources, opened, strict=True):
            task = bar.add_task(name, total=None, rate="")

            def show(count: Count, task: int = task) -> None:
                rate = f"{count.done / count.seconds:.0f}/s" if count.seconds > 0.5 else ""
                failed = f"  {count.failed} failed" if count.failed else ""
                bar.update(TaskID(task), completed=count.done, total=count.total, rate=rate + failed)

            ingest = replace(intake.ingest(sync=sync), on_progress=show, should_stop=stop.is_set)
            total = merged(total, ingest.run(source))
            if total.stopped:
                break
    return total


def print_report(report: IngestReport) -> None:
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
