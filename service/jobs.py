"""Long work that outlives a request, and a restart: one worker thread for each kind of job.

A job whose process died is run again, by the next one or by another that serves the same data directory: work
skips what it has done. Limits bound how often, how many may wait, and what one client may ask for
(service.job_rules). The jobs themselves, and whose they are, lie in `indexer.tables.jobs`.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from indexer.errors import KallosError
from indexer.ingest.ingest import explain
from indexer.tables.database import Database
from indexer.tables.jobs import FINAL, Ending, IdempotencyKey, Job, JobTable, NewJob
from indexer.types import JSONValue
from service.job_rules import QueueLimits

LOG = logging.getLogger("kallos.jobs")

WRITE_EVERY = 0.5  # seconds between two progress rows: people cannot read faster, disks can wear out
LEASE_S = 15.0  # a process that says nothing for longer is taken for dead
BEATS = 5  # in the time of a lease: some may come late, or be held up by another writer
HIDDEN = ("client", "cost", "queued_at")  # from clients


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Who asks for a job ("": nobody whose share is counted), what it costs, and what it is about.

    `subject` finds the job again (`JobRunner.about`); `key` makes repeating a request harmless.
    """

    client: str = ""
    cost: float | None = None
    subject: str | None = None
    key: IdempotencyKey | None = None


class Control:
    """What a running job is handed: a way to tell how far it is, and to hear that it should stop."""

    def __init__(
        self, job_id: str, report: Callable[[dict[str, JSONValue]], None], stop: threading.Event
    ) -> None:
        self.job_id = job_id
        self._report = report
        self._stop = stop
        self._reported_at = 0.0
        self._untold: dict[str, JSONValue] = {}

    def progress(self, **values: JSONValue) -> None:
        """Tell how far it is; now and then it is written down, and at the end the last of it."""
        self._untold = values
        if self.is_due():
            self.tell(**values)

    def is_due(self) -> bool:
        """Whether `progress` would write: asked first where the values take work."""
        return time.monotonic() - self._reported_at >= WRITE_EVERY

    def tell(self, **values: JSONValue) -> None:
        """Write it down in any case."""
        self._reported_at = time.monotonic()
        self._untold = {}
        self._report(values)

    def tell_rest(self) -> None:
        """Write down what `progress` was told last."""
        if self._untold:
            self.tell(**self._untold)

    def should_stop(self) -> bool:
        return self._stop.is_set()


Work = Callable[[dict[str, JSONValue], Control], dict[str, JSONValue]]


class JobRunner:
    """Runs jobs of one kind one after the other, and kinds beside each other.

    Several may run on one database, in one process or in many: each job runs in one of them.

    Args:
        database: Where the jobs are.
        kinds: The work of each kind of job.
        limits: Their bounds; a kind without has those of `QueueLimits()`.
        lease_s: A job whose process says nothing for so long is run again.
    """

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Work],
        limits: Mapping[str, QueueLimits] | None = None,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._table = JobTable(database)
        self._limits = {kind: QueueLimits() for kind in kinds} | dict(limits or {})
        self._lease_s = lease_s
        owner = secrets.token_hex(8)
        self._workers = {kind: Worker(self._table, owner, kind, work) for kind, work in kinds.items()}
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="leases of jobs", daemon=True)

    def start(self) -> None:
        """Take up what a dead process left, then wait for more."""
        self._take_back()
        for worker in self._workers.values():
            worker.start()
        self._keeper.start()

    def close(self) -> None:
        """Ask the running jobs to stop; they are queued again and go on at the next start."""
        for worker in self._workers.values():
            worker.end()
        for worker in self._workers.values():
            worker.join()
        self._ending.set()  # only now: until they have stopped, they are still ours
        if self._keeper.ident is not None:
            self._keeper.join()

    def submit(self, kind: str, params: dict[str, JSONValue], request: JobRequest = JobRequest()) -> Job:
        """A new job, or the one that the same `request.key` has started before.

        Raises:
            LimitError: The limits of this kind say no for now.
            ReusedKeyError: `request.key` has come with other params.
        """
        return self._submit(kind, params, request)

    def submit_once(
        self,
        kind: str,
        params: dict[str, JSONValue],
        request: JobRequest = JobRequest(),
        *,
        unless: Literal["kind", "subject"] = "kind",
    ) -> Job:
        """The job of this kind or with this subject that waits or runs already, or a new one."""
        return self._submit(kind, params, request, unless)

    def retry(self, job_id: str) -> Job:
        """Queue a job that failed or was cancelled again, as the last one; what it has written stays.

        Raises:
            ConflictError: It is in another state.
            LimitError: The limits of its kind say no for now.
        """
        job = self._table.get(job_id)
        self._table.retry(job_id, self._limits_of(job.kind).admit(job.cost))
        self._wake(job.kind)
        return self.get(job_id)

    def active(self, kind: str) -> Job | None:
        """The job of this kind that runs, or else the next one."""
        job = self._table.active(kind)
        return None if job is None else self._placed(job)

    def newest_of(self, kind: str) -> Job | None:
        """The job of this kind that was queued last, whatever became of it."""
        return self._table.newest_of(kind)

    def get(self, job_id: str) -> Job:
        """Raises NotFoundError."""
        return self._placed(self._table.get(job_id))

    def about(self, subject: str) -> Job | None:
        """The newest job whose request named this subject."""
        job = self._table.about(subject)
        return None if job is None else self._placed(job)

    def list(self, limit: int = 50) -> list[Job]:
        """The newest first."""
        return [self._placed(job) for job in self._table.newest(limit)]

    def cancel(self, job_id: str) -> Job:
        """Stop a job; what it has written stays. ConflictError when it has ended already."""
        job = self._table.get(job_id)
        worker = self._workers.get(job.kind)
        if worker is None or not worker.cancel(job_id):
            self._table.cancel(job_id)
        return self.get(job_id)

    def _submit(
        self,
        kind: str,
        params: dict[str, JSONValue],
        request: JobRequest,
        unless: Literal["kind", "subject"] | None = None,
    ) -> Job:
        new = NewJob(secrets.token_hex(8), kind, params, request.client, request.cost, request.subject)
        admit = self._limits_of(kind).admit(request.cost)
        job_id = self._table.submit(new, admit, request.key, unless=unless)
        self._wake(kind)
        return self.get(job_id)

    def _limits_of(self, kind: str) -> QueueLimits:
        return self._limits.get(kind, QueueLimits())

    def _wake(self, kind: str) -> None:
        if kind in self._workers:
            self._workers[kind].wake()

    def _keep(self) -> None:
        """Renew the leases of what runs here; look for jobs that others have left, or queued."""
        while not self._ending.wait(self._lease_s / BEATS):
            try:
                for worker in self._workers.values():
                    worker.beat()
                self._take_back()
            except KallosError as error:
                LOG.warning("cannot renew the leases of jobs: %s", error)
            for worker in self._workers.values():
                worker.wake()

    def _take_back(self) -> None:
        self._table.take_back(
            self._lease_s, {kind: limits.most_attempts for kind, limits in self._limits.items()}
        )

    def _placed(self, job: Job) -> Job:
        """With its place in the queue, and when it will have ended, judged by the latest of its kind."""
        if job.state in FINAL:
            return job
        ahead = [other for other in self._table.up_to(job) if job.state == "queued" or other.id == job.id]
        position = sum(other.state == "queued" for other in ahead)
        one = self._table.seconds_per_unit(job.kind)
        if one is None or job.cost is None:
            return replace(job, position=position)
        left = sum((other.cost or 0.0) * (1 - _share(other)) for other in ahead)
        return replace(job, position=position, eta_seconds=round(one * left, 1))


class Worker:
    """The thread that does one kind of job."""

    def __init__(self, table: JobTable, owner: str, kind: str, work: Work) -> None:
        self._table = table
        self._owner = owner
        self._kind = kind
        self._work = work
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._stop = threading.Event()  # the running job
        self._running: str | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name=f"{kind} jobs", daemon=True)

    def start(self) -> None:
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def end(self) -> None:
        self._ending.set()
        self._stop.set()
        self._wake.set()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def cancel(self, job_id: str) -> bool:
        """Ask the job to stop if it runs here; whether it does."""
        with self._lock:
            if self._running != job_id:
                return False
            self._stop.set()
            return True

    def beat(self) -> None:
        """Renew the lease of what runs here; stop it when it is no longer ours."""
        with self._lock:
            job_id = self._running
        if job_id is not None and not self._table.beat(job_id, self._owner):
            self._lose(job_id)

    def _lose(self, job_id: str) -> None:
        """Another process has cancelled the job, or taken it back: no word of ours counts any more."""
        with self._lock:
            if self._running == job_id:
                self._stop.set()

    def _loop(self) -> None:
        while not self._ending.is_set():
            try:
                job = self._take()
                if job is not None:
                    self._run(job)
                    continue
            except KallosError as error:  # of the database: a full disk must not end this thread
                LOG.warning("%s jobs wait: %s", self._kind, error)
            self._wake.wait()
            self._wake.clear()

    def _take(self) -> Job | None:
        with self._lock:
            self._stop.clear()  # before the look at `_ending`: what `end` sets after it stays set
            if self._ending.is_set():
                return None
            job = self._table.take(self._kind, self._owner)
            self._running = None if job is None else job.id
            return job

    def _run(self, job: Job) -> None:
        control = Control(job.id, lambda values: self._tell(job.id, values), self._stop)
        try:
            ending = Ending("succeeded", self._work(job.params, control))
            control.tell_rest()
        except KallosError as failure:
            ending = Ending("failed", error=explain(failure), code=failure.code)
        except Exception as failure:
            # The worker must survive any job; the traceback goes to the log, the class name to the client.
            LOG.exception("job %s failed", job.id)
            error = f"unexpected {type(failure).__name__}; the server's log says more"
            ending = Ending("failed", error=error, code=KallosError.code)
        with self._lock:
            self._running = None
            was_stopped = self._stop.is_set() and ending.state == "succeeded"
            if was_stopped and self._ending.is_set():
                self._table.put_back(job.id, self._owner)
                return
            if was_stopped:
                ending = replace(ending, state="cancelled")
            self._table.finish(job.id, self._owner, ending)

    def _tell(self, job_id: str, values: dict[str, JSONValue]) -> None:
        if not self._table.progress(job_id, self._owner, values):
            self._lose(job_id)


def as_json(job: Job) -> dict[str, JSONValue]:
    """What a client may see of it."""
    return {name: value for name, value in asdict(job).items() if name not in HIDDEN}


def _share(job: Job) -> float:
    """How much of it is done, as far as it tells."""
    done, total = job.progress.get("done"), job.progress.get("total")
    if job.state != "running" or not isinstance(done, int | float) or not isinstance(total, int | float):
        return 0.0
    return min(1.0, done / total) if total > 0 else 0.0
