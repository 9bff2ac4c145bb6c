"""Long work that outlives a request, and a restart: rows in the database, one worker thread for each kind.

A job that was running when the process died is run again at the next start: indexing skips what it has done.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from indexer.database import Database
from indexer.errors import ConflictError, KallosError, NotFoundError
from indexer.ingest import explain
from indexer.types import JSONValue

LOG = logging.getLogger("kallos.jobs")

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
SELECT = (
    "SELECT id, kind, state, params, progress, result, error, created_at, started_at, finished_at FROM job"
)
ONE = f"{SELECT} WHERE id = ?"
NEWEST = f"{SELECT} ORDER BY created_at DESC, id LIMIT ?"
NEXT = f"{SELECT} WHERE state = 'queued' AND kind = ? ORDER BY created_at, id LIMIT 1"
ACTIVE = f"{SELECT} WHERE state IN ('queued', 'running') AND kind = ? ORDER BY created_at, id LIMIT 1"
WRITE_EVERY = 0.5  # seconds between two progress rows: people cannot read faster, disks can wear out


@dataclass(frozen=True, slots=True)
class Job:
    """Times are in seconds since 1970. `progress` and `result` are what the kind of job reports."""

    id: str
    kind: str
    state: State
    params: dict[str, JSONValue]
    progress: dict[str, JSONValue]
    result: dict[str, JSONValue] | None
    error: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None


class Control:
    """What a running job is handed: a way to tell how far it is, and to hear that it should stop."""

    def __init__(self, report: Callable[[dict[str, JSONValue]], None], stop: threading.Event) -> None:
        self._report = report
        self._stop = stop
        self._reported_at = 0.0

    def progress(self, **values: JSONValue) -> None:
        now = time.monotonic()
        if now - self._reported_at >= WRITE_EVERY:
            self._reported_at = now
            self._report(values)

    def should_stop(self) -> bool:
        return self._stop.is_set()


Work = Callable[[dict[str, JSONValue], Control], dict[str, JSONValue]]


class JobRunner:
    """Runs jobs of one kind one after the other, and kinds beside each other.

    `kinds` maps a job's kind to its work.
    """

    def __init__(self, database: Database, kinds: Mapping[str, Work]) -> None:
        self._database = database
        self._lanes = {kind: Lane(self, database, kind, work) for kind, work in kinds.items()}

    def start(self) -> None:
        """Take up what an earlier process left, then wait for more."""
        with self._database.write() as connection:
            connection.execute("UPDATE job SET state = 'queued' WHERE state = 'running'")
        for lane in self._lanes.values():
            lane.start()

    def close(self) -> None:
        """Ask the running jobs to stop; they are queued again and go on at the next start."""
        for lane in self._lanes.values():
            lane.end()
        for lane in self._lanes.values():
            lane.join()

    def submit(self, kind: str, params: dict[str, JSONValue]) -> Job:
        job_id = secrets.token_hex(8)
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO job (id, kind, state, params, progress, created_at)"
                " VALUES (?, ?, 'queued', ?, '{}', ?)",
                (job_id, kind, json.dumps(params), time.time()),
            )
        self._lanes[kind].wake()
        return self.get(job_id)

    def submit_once(self, kind: str, params: dict[str, JSONValue]) -> Job:
        """The job of this kind that waits or runs already, or a new one."""
        with self._database.read() as connection:
            row = connection.execute(ACTIVE, (kind,)).fetchone()
        return self.submit(kind, params) if row is None else _job(row)

    def get(self, job_id: str) -> Job:
        with self._database.read() as connection:
            row = connection.execute(ONE, (job_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"no job with id {job_id!r}")
        return _job(row)

    def list(self, limit: int = 50) -> list[Job]:
        """The newest first."""
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(NEWEST, (limit,))]

    def cancel(self, job_id: str) -> Job:
        """Stop a job; what it has written stays. ConflictError when it has ended already."""
        self._lanes[self.get(job_id).kind].cancel(job_id)
        return self.get(job_id)


class Lane:
    """The worker of one kind of job."""

    def __init__(self, jobs: JobRunner, database: Database, kind: str, work: Work) -> None:
        self._jobs = jobs
        self._database = database
        self._kind = kind
        self._work = work
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._cancel = threading.Event()
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
        self._cancel.set()
        self._wake.set()

    def join(self) -> None:
        self._thread.join()

    def cancel(self, job_id: str) -> None:
        with self._lock:
            job = self._jobs.get(job_id)
            if job.state in FINAL:
                raise ConflictError(f"job {job_id} has {job.state} already")
            if self._running == job_id:
                self._cancel.set()
            else:
                self._finish(job_id, "cancelled", None, None)

    def _loop(self) -> None:
        while not self._ending.is_set():
            job = self._take()
            if job is None:
                self._wake.wait()
                self._wake.clear()
            else:
                self._run(job)

    def _take(self) -> Job | None:
        with self._lock, self._database.write() as connection:
            row = connection.execute(NEXT, (self._kind,)).fetchone()
            if row is None or self._ending.is_set():
                return None
            job = _job(row)
            connection.execute(
                "UPDATE job SET state = 'running', started_at = coalesce(started_at, ?) WHERE id = ?",
                (time.time(), job.id),
            )
            self._cancel.clear()
            self._running = job.id
            return job

    def _run(self, job: Job) -> None:
        control = Control(lambda values: self._save_progress(job.id, values), self._cancel)
        state: State = "succeeded"
        result: dict[str, JSONValue] | None = None
        error: str | None = None
        try:
            result = self._work(job.params, control)
        except KallosError as failure:
            state, error = "failed", explain(failure)
        except Exception as failure:
            # The worker must survive any job; the traceback goes to the log, the class name to the client.
            LOG.exception("job %s failed", job.id)
            state, error = "failed", f"unexpected {type(failure).__name__}; the server's log says more"
        with self._lock:
            self._running = None
            if self._ending.is_set() and self._cancel.is_set() and state == "succeeded":
                self._requeue(job.id)
                return
            if self._cancel.is_set() and state == "succeeded":
                state = "cancelled"
            self._finish(job.id, state, result, error)

    def _save_progress(self, job_id: str, values: dict[str, JSONValue]) -> None:
        with self._database.write() as connection:
            connection.execute("UPDATE job SET progress = ? WHERE id = ?", (json.dumps(values), job_id))

    def _requeue(self, job_id: str) -> None:
        with self._database.write() as connection:
            connection.execute("UPDATE job SET state = 'queued' WHERE id = ?", (job_id,))

    def _finish(self, job_id: str, state: State, result: object, error: str | None) -> None:
        encoded = None if result is None else json.dumps(result)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE job SET state = ?, result = ?, error = ?, finished_at = ? WHERE id = ?",
                (state, encoded, error, time.time(), job_id),
            )


def as_json(job: Job) -> dict[str, JSONValue]:
    return asdict(job)


def _job(row: tuple[object, ...]) -> Job:
    id_, kind, state, params, progress, result, error, created_at, started_at, finished_at = row
    return Job(
        id=str(id_),
        kind=str(kind),
        state=_state(str(state)),
        params=json.loads(str(params)),
        progress=json.loads(str(progress)),
        result=None if result is None else json.loads(str(result)),
        error=None if error is None else str(error),
        created_at=float(str(created_at)),
        started_at=None if started_at is None else float(str(started_at)),
        finished_at=None if finished_at is None else float(str(finished_at)),
    )


def _state(text: str) -> State:
    match text:
        case "queued" | "running" | "succeeded" | "failed" | "cancelled":
            return text
    raise ValueError(f"job state {text!r} is not known")
