"""The `compact` job, and the thread that starts one when a collection has outgrown its index."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from threading import Event, Thread

from indexer.ann.build import BuildStopped, Watch
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, CompactReport, compact, is_due
from indexer.errors import KallosError
from indexer.protocols import Encoder
from indexer.tables.jobs import GAVE_UP
from indexer.types import JSONValue
from rerank.calibration_queries import CALIBRATION_QUERIES
from service.jobs import Control, JobRunner
from service.settings import Settings
from service.wiring import thread_count

LOG = logging.getLogger("kallos.upkeep")
CHECK_S = 10.0


class CompactWork:
    """Callable for `JobRunner`. Building takes half of the cores, and those only when nobody searches."""

    def __init__(self, collection: Collection, aims: Callable[[], Aims]) -> None:
        self._collection = collection
        self._aims = aims

    def __call__(self, params: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
        watch = Watch(
            tell=lambda stage, done, of: control.progress(stage=stage, done=done, total=of),
            should_stop=control.should_stop,
        )
        try:
            report = compact(self._collection, self._aims(), watch=watch)
        except BuildStopped:
            return {"stopped": True}
        return report_json(report)


class Upkeep:
    """Looks every CHECK_S seconds whether the collection is due."""

    def __init__(self, collection: Collection, aims: Callable[[], Aims], jobs: JobRunner) -> None:
        self._collection = collection
        self._aims = aims
        self._jobs = jobs
        self._told: str | None = None  # the job that was given up, and is in the log
        self._ending = Event()
        self._thread = Thread(target=self._loop, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _loop(self) -> None:
        aims = self._aims()
        while not self._ending.wait(CHECK_S):
            try:
                self.look(aims)
            except KallosError as error:
                LOG.warning("cannot look after the collection: %s", error)

    def look(self, aims: Aims) -> None:
        """Start a compaction if one is due; after one that kept ending the server, leave that to a person."""
        if not is_due(self._collection, aims):
            return
        last = self._jobs.newest_of("compact")
        if last is None or last.code != GAVE_UP:
            self._jobs.submit_once("compact", {})
        elif last.id != self._told:
            self._told = last.id
            LOG.warning(
                "job %s: %s; compaction is due, start it with POST /jobs/compact", last.id, last.error
            )


def aims_of(settings: Settings, encoder: Encoder, *, background: bool) -> Aims:
    cores = thread_count(settings)
    threads = max(1, cores // 2) if background else cores
    return Aims(
        settings.index_memory_mb * 2**20,
        settings.index_latency_ms,
        threads,
        encoder.encode_texts(CALIBRATION_QUERIES),
    )


def report_json(report: CompactReport) -> dict[str, JSONValue]:
    return {**asdict(report), "family": report.family or "exact", "seconds": round(report.seconds, 3)}
