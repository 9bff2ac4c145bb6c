"""The `compact` job, and the thread that starts one when a collection has outgrown its index."""

import logging
from dataclasses import asdict
from threading import Event, Thread

from indexer.ann.build import BuildStopped, Watch
from indexer.collection.compaction import Aims, CompactReport, compact, is_due
from indexer.errors import KallosError
from indexer.types import JSONValue
from rerank.everyday import EVERYDAY
from service.jobs import Control, JobRunner
from service.wiring import Services

LOG = logging.getLogger("kallos.upkeep")
CHECK_S = 10.0


class CompactWork:
    """Callable for `JobRunner`. Building takes half of the cores, and those only when nobody searches."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, params: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
        watch = Watch(
            tell=lambda stage, done, of: control.progress(stage=stage, done=done, total=of),
            should_stop=control.should_stop,
        )
        try:
            report = compact(self._services.collection, aims_of(self._services, background=True), watch=watch)
        except BuildStopped:
            return {"stopped": True}
        return report_json(report)


class Upkeep:
    """Looks every CHECK_S seconds whether the collection is due."""

    def __init__(self, services: Services, jobs: JobRunner) -> None:
        self._services = services
        self._jobs = jobs
        self._ending = Event()
        self._thread = Thread(target=self._loop, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _loop(self) -> None:
        aims = aims_of(self._services, background=True)
        while not self._ending.wait(CHECK_S):
            try:
                if is_due(self._services.collection, aims):
                    self._jobs.submit_once("compact", {})
            except KallosError as error:
                LOG.warning("cannot look after the collection: %s", error)


def aims_of(services: Services, *, background: bool) -> Aims:
    settings = services.settings
    threads = max(1, services.threads // 2) if background else services.threads
    return Aims(
        settings.index_memory_mb * 2**20,
        settings.index_latency_ms,
        threads,
        services.encoder.encode_texts(EVERYDAY),
    )


def report_json(report: CompactReport) -> dict[str, JSONValue]:
    return {**asdict(report), "family": report.family or "exact", "seconds": round(report.seconds, 3)}
