"""The `index` job: folders into the collection, away from any request."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from indexer.errors import InvalidInputError
from indexer.ingest.ingest import IngestReport, Progress
from indexer.sources.open import open_source
from indexer.types import JSONValue
from service.intake import Intake
from service.jobs import Control

FAILURES_SHOWN = 1000  # in a job's result; `failed_total` counts all


def check_sources(sources: Sequence[str], allowed: Sequence[Path]) -> list[str]:
    """Absolute paths, each inside a folder that whoever runs the server has opened for this.

    Raises:
        InvalidInputError: A source is outside every folder of KALLOS_SOURCES, or does not exist.
    """
    if not allowed:
        raise InvalidInputError(
            "this server may not read folders: start it with KALLOS_SOURCES=/folder:/another, "
            "or send pictures to POST /images"
        )
    resolved = []
    for source in sources:
        try:
            path = Path(source).resolve()
        except (OSError, ValueError) as error:  # a loop of links, a NUL
            raise InvalidInputError(f"{source!r} is not a path: {error}") from error
        if not any(path.is_relative_to(folder) for folder in allowed):
            folders = ", ".join(str(folder) for folder in allowed)
            raise InvalidInputError(f"{source!r} is outside the folders that this server may read: {folders}")
        if not path.exists():
            raise InvalidInputError(f"{source!r} does not exist on the server")
        resolved.append(str(path))
    return resolved


class IndexWork:
    """Callable for `JobRunner`."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __call__(self, params: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
        total, pictures = IngestReport(), self._intake.pictures
        sources = params["sources"]
        assert isinstance(sources, list)
        ingest = replace(
            self._intake.ingest(sync=bool(params.get("sync"))),
            should_stop=control.should_stop,
            on_progress=lambda progress: control.progress(**progress_json(progress)),
        )
        for source in sources:
            found = open_source(str(source), limits=pictures.limits, fetch=pictures.fetcher.fetch)
            total = merged(total, ingest.run(found))
            if total.stopped:
                break
        return report_json(total, most=FAILURES_SHOWN)


def merged(first: IngestReport, second: IngestReport) -> IngestReport:
    """The reports of two sources as one."""
    return IngestReport(
        indexed=first.indexed + second.indexed,
        unchanged=first.unchanged + second.unchanged,
        moved=first.moved + second.moved,
        deleted=first.deleted + second.deleted,
        failed=first.failed + second.failed,
        warnings=first.warnings + second.warnings,
        seconds=first.seconds + second.seconds,
        stopped=first.stopped or second.stopped,
    )


def progress_json(progress: Progress) -> dict[str, JSONValue]:
    rate = progress.done / progress.seconds if progress.seconds > 0 else 0.0
    left = None if progress.total is None or rate == 0 else (progress.total - progress.done) / rate
    return {
        "done": progress.done,
        "total": progress.total,
        "indexed": progress.indexed,
        "unchanged": progress.unchanged,
        "failed": progress.failed,
        "per_second": round(rate, 1),
        "eta_seconds": None if left is None else round(left, 1),
    }


def report_json(report: IngestReport, *, most: int | None = None) -> dict[str, JSONValue]:
    """The closing document of `kallos index --json` and of an index job."""
    failed: list[JSONValue] = [
        {"uri": item.uri, "reason": item.reason, "message": item.message} for item in report.failed[:most]
    ]
    return {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "moved": report.moved,
        "deleted": report.deleted,
        "failed": failed,
        "failed_total": len(report.failed),
        "warnings": list(report.warnings[:most]),
        "seconds": round(report.seconds, 3),
        "stopped": report.stopped,
    }
