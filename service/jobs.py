"""Long work that outlives a request, and a restart: rows in the database, one worker thread for each kind.

A job that was running when the process died is run again at the next start: work skips what it has done.
Rules bound how often, how many may wait, and what one client may ask for (service.job_rules).
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from indexer.errors import ConflictError, KallosError, NotFoundError
from indexer.ingest.ingest import explain
from indexer.tables.database import Connection, Database
from indexer.types import JSONValue
from service.job_rules import Once, Rules, pace

LOG = logging.getLogger("kallos.jobs")

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
SELECT = (
    "SELECT id, kind, state, params, progress, result, error, created_at, started_at, finished_at, code,"
    " attempts, client, cost, queued_at FROM job"
)
ONE = f"{SELECT} WHERE id = ?"
NEWEST = f"{SELECT} ORDER BY created_at DESC, id LIMIT ?"
NEXT = f"{SELECT} WHERE state = 'queued' AND kind = ? ORDER BY queued_at, id LIMIT 1"
ACTIVE = (
    f"{SELECT} WHERE state IN ('queued', 'running') AND kind = ? ORDER BY state DESC, queued_at, id LIMIT 1"
)
UP_TO = (
    f"{SELECT} WHERE kind = ?1 AND (state = 'running' OR (state = 'queued' AND (queued_at, id) <= (?2, ?3)))"
)
ABOUT = f"{SELECT} WHERE subject = ? ORDER BY queued_at DESC, id LIMIT 1"
INSERT = """
    INSERT INTO job (id, kind, state, params, progress, created_at, queued_at, client, cost, subject)
    VALUES (?1, ?2, 'queued', ?3, '{}', ?4, ?4, ?5, ?6, ?7)
"""
TAKE = """
    UPDATE job SET state = 'running', started_at = coalesce(started_at, ?), attempts = attempts + 1
    WHERE id = ?
"""
GIVE_UP = """
    UPDATE job SET state = 'failed', code = 'gave_up', finished_at = ?1,
        error = 'the server ended ' || attempts || ' times during this job: it is not tried again by itself'
    WHERE state = 'running' AND kind = ?2 AND attempts >= ?3
"""
RETRY = """
    UPDATE job SET state = 'queued', queued_at = ?, attempts = 0, progress = '{}', result = NULL,
        error = NULL, code = NULL, started_at = NULL, finished_at = NULL
    WHERE id = ?
"""
WRITE_EVERY = 0.5  # seconds between two progress rows: people cannot read faster, disks can wear out


@dataclass(frozen=True, slots=True)
class Job:
    """Times are in seconds since 1970. `progress` and `result` are what the kind of job reports.

    `code` says for programs why it failed. `position` is 0 for a running job and 1 for the next one;
    `eta_seconds` is when it will have ended, judged by the latest of its kind. `client` and `cost` are what
    its `Order` said, `attempts` how often it was begun.
    """

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
    code: str | None
    attempts: int
    client: str
    cost: float | None
    queued_at: float
    position: int | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a job ("": nobody whose share is counted), what it costs, and what it is about.

    `subject` finds the job again (`JobRunner.about`); `once` makes repeating a request harmless.
    """

    client: str = ""
    cost: float | None = None
    subject: str | None = None
    once: Once | None = None


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

    `kinds` maps a job's kind to its work, `rules` to its bounds; a kind without rules has none.
    """

    def __init__(
        self, database: Database, kinds: Mapping[str, Work], rules: Mapping[str, Rules] | None = None
    ) -> None:
        self._database = database
        self._rules = rules or {}
        self._lanes = {kind: Lane(self, database, kind, work) for kind, work in kinds.items()}

    def start(self) -> None:
        """Take up what an earlier process left, then wait for more."""
        with self._database.write() as connection:
            for kind, rules in self._rules.items():
                if rules.most_attempts is not None:
                    connection.execute(GIVE_UP, (time.time(), kind, rules.most_attempts))
            connection.execute("UPDATE job SET state = 'queued' WHERE state = 'running'")
        for lane in self._lanes.values():
            lane.start()

    def close(self) -> None:
        """Ask the running jobs to stop; they are queued again and go on at the next start."""
        for lane in self._lanes.values():
            lane.end()
        for lane in self._lanes.values():
            lane.join()

    def submit(self, kind: str, params: dict[str, JSONValue], order: Order = Order()) -> Job:
        """A new job, or the one that the same `order.once` has started before.

        Raises:
            LimitError: The rules of this kind say no for now.
            ReusedKeyError: `order.once` has come with other params.
        """
        job_id = secrets.token_hex(8)
        with self._database.write() as connection:
            known = None if order.once is None else order.once.find(connection)
            if known is not None:
                return self.get(known)
            self._admit(connection, kind, order.client, order.cost)
            values = (job_id, kind, json.dumps(params), time.time(), order.client, order.cost, order.subject)
            connection.execute(INSERT, values)
            if order.once is not None:
                order.once.keep(connection, job_id)
        self._lanes[kind].wake()
        return self.get(job_id)

    def retry(self, job_id: str) -> Job:
        """Queue a job that failed or was cancelled anew, as the last one; what it has written stays.

        Raises:
            ConflictError: It is in another state.
            LimitError: The rules of its kind say no for now.
        """
        with self._database.write() as connection:
            job = self.get(job_id)
            if job.state not in ("failed", "cancelled"):
                raise ConflictError(
                    f"job {job_id} is {job.state}: only failed or cancelled jobs can be retried"
                )
            self._admit(connection, job.kind, job.client, job.cost)
            connection.execute(RETRY, (time.time(), job_id))
        self._lanes[job.kind].wake()
        return self.get(job_id)

    def _admit(self, connection: Connection, kind: str, client: str, cost: float | None) -> None:
        self._rules.get(kind, Rules()).admit(connection, kind, client, cost)

    def submit_once(self, kind: str, params: dict[str, JSONValue]) -> Job:
        """The job of this kind that waits or runs already, or a new one."""
        return self.active(kind) or self.submit(kind, params)

    def active(self, kind: str) -> Job | None:
        """The job of this kind that runs, or else the next one."""
        with self._database.read() as connection:
            row = connection.execute(ACTIVE, (kind,)).fetchone()
            return None if row is None else _placed(connection, _job(row))

    def get(self, job_id: str) -> Job:
        with self._database.read() as connection:
            row = connection.execute(ONE, (job_id,)).fetchone()
            if row is None:
                raise NotFoundError(f"no job with id {job_id!r}")
            return _placed(connection, _job(row))

    def about(self, subject: str) -> Job | None:
        """The newest job whose order named this subject."""
        with self._database.read() as connection:
            row = connection.execute(ABOUT, (subject,)).fetchone()
            return None if row is None else _placed(connection, _job(row))

    def list(self, limit: int = 50) -> list[Job]:
        """The newest first."""
        with self._database.read() as connection:
            rows = connection.execute(NEWEST, (limit,)).fetchall()
            return [_placed(connection, _job(row)) for row in rows]

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
                self._finish(job_id, "cancelled", None, None, None)

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
            connection.execute(TAKE, (time.time(), job.id))
            self._cancel.clear()
            self._running = job.id
            return job

    def _run(self, job: Job) -> None:
        control = Control(job.id, lambda values: self._save_progress(job.id, values), self._cancel)
        state: State = "succeeded"
        result: dict[str, JSONValue] | None = None
        error: str | None = None
        code: str | None = None
        try:
            result = self._work(job.params, control)
            control.tell_rest()
        except KallosError as failure:
            state, error, code = "failed", explain(failure), failure.code
        except Exception as failure:
            # The worker must survive any job; the traceback goes to the log, the class name to the client.
            LOG.exception("job %s failed", job.id)
            state, error = "failed", f"unexpected {type(failure).__name__}; the server's log says more"
            code = KallosError.code
        with self._lock:
            self._running = None
            if self._ending.is_set() and self._cancel.is_set() and state == "succeeded":
                self._requeue(job.id)
                return
            if self._cancel.is_set() and state == "succeeded":
                state = "cancelled"
            self._finish(job.id, state, result, error, code)

    def _save_progress(self, job_id: str, values: dict[str, JSONValue]) -> None:
        with self._database.write() as connection:
            connection.execute("UPDATE job SET progress = ? WHERE id = ?", (json.dumps(values), job_id))

    def _requeue(self, job_id: str) -> None:
        with self._database.write() as connection:  # a polite end is no failed attempt
            connection.execute(
                "UPDATE job SET state = 'queued', attempts = attempts - 1 WHERE id = ?", (job_id,)
            )

    def _finish(self, job_id: str, state: State, result: object, error: str | None, code: str | None) -> None:
        encoded = None if result is None else json.dumps(result)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE job SET state = ?, result = ?, error = ?, code = ?, finished_at = ? WHERE id = ?",
                (state, encoded, error, code, time.time(), job_id),
            )


def as_json(job: Job) -> dict[str, JSONValue]:
    """What a client may see of it."""
    return {name: value for name, value in asdict(job).items() if name not in ("client", "cost", "queued_at")}


def _placed(connection: Connection, job: Job) -> Job:
    """With its place in the queue, and when it will have ended."""
    if job.state in FINAL:
        return job
    rows = connection.execute(UP_TO, (job.kind, job.queued_at, job.id)).fetchall()
    ahead = [other for other in map(_job, rows) if job.state == "queued" or other.id == job.id]
    position = sum(other.state == "queued" for other in ahead)
    one = pace(connection, job.kind)
    if one is None or job.cost is None:
        return replace(job, position=position)
    left = sum((other.cost or 0.0) * (1 - _share(other)) for other in ahead)
    return replace(job, position=position, eta_seconds=round(one * left, 1))


def _share(job: Job) -> float:
    """How much of it is done, as far as it tells."""
    done, total = job.progress.get("done"), job.progress.get("total")
    if job.state != "running" or not isinstance(done, int | float) or not isinstance(total, int | float):
        return 0.0
    return min(1.0, done / total) if total > 0 else 0.0


def _job(row: tuple[object, ...]) -> Job:
    id_, kind, state, params, progress, result, error, created_at, started_at, finished_at, *rest = row
    code, attempts, client, cost, queued_at = rest
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
        code=None if code is None else str(code),
        attempts=int(str(attempts)),
        client=str(client),
        cost=None if cost is None else float(str(cost)),
        queued_at=float(str(queued_at)),
    )


def _state(text: str) -> State:
    match text:
        case "queued" | "running" | "succeeded" | "failed" | "cancelled":
            return text
    raise ValueError(f"job state {text!r} is not known")
