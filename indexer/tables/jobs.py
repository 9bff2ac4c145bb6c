"""Tables `job` and `idempotency`: what waits, what runs and for whom, and how it ended; every statement.

A running job belongs to an owner, the process that works on it, for as long as that process says so: `beat`
renews the lease. A job whose owner was not heard of for longer than a lease is taken back, by whichever
process looks first. What an owner writes counts only while the job is still its own, so a process that was
paused for too long changes nothing of what became of its job meanwhile.

Times are those of the system clock, in seconds since 1970: the processes of one machine share it.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from indexer.errors import ConflictError, NotFoundError, ReusedKeyError
from indexer.tables.database import Connection, Database
from indexer.types import JSONValue

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
GAVE_UP = "gave_up"  # the code of a job during which its owner died too often
HOUR_S = 3600.0
KEY_KEPT_S = 24 * HOUR_S
RECENT = 20  # finished jobs that an estimate rests on

SELECT = (
    "SELECT id, kind, state, params, progress, result, error, created_at, started_at, finished_at, code,"
    " attempts, client, cost, queued_at FROM job"
)
ONE = f"{SELECT} WHERE id = ?"
NEWEST = f"{SELECT} ORDER BY created_at DESC, id LIMIT ?"
NEWEST_OF = f"{SELECT} WHERE kind = ? ORDER BY queued_at DESC, id LIMIT 1"
NEXT = f"{SELECT} WHERE state = 'queued' AND kind = ? ORDER BY queued_at, id LIMIT 1"
ACTIVE = (
    f"{SELECT} WHERE state IN ('queued', 'running') AND kind = ? ORDER BY state DESC, queued_at, id LIMIT 1"
)
UP_TO = (
    f"{SELECT} WHERE kind = ?1 AND (state = 'running' OR (state = 'queued' AND (queued_at, id) <= (?2, ?3)))"
)
ABOUT = f"{SELECT} WHERE subject = ? ORDER BY queued_at DESC, id LIMIT 1"
ABOUT_ANY = f"{SELECT} WHERE substr(subject, 1, length(?1)) = ?1 ORDER BY created_at, id"
INSERT = """
    INSERT INTO job (id, kind, state, params, progress, created_at, queued_at, client, cost, subject)
    VALUES (?1, ?2, 'queued', ?3, '{}', ?4, ?4, ?5, ?6, ?7)
"""
TAKE = """
    UPDATE job SET state = 'running', owner = ?1, beat_at = ?2, started_at = coalesce(started_at, ?2),
        attempts = attempts + 1
    WHERE id = ?3
"""
BEAT = "UPDATE job SET beat_at = ? WHERE id = ? AND owner = ? AND state = 'running'"
# A job that an older version ran has no owner, and no beat.
ANY_ABANDONED = "SELECT 1 FROM job WHERE state = 'running' AND coalesce(beat_at, 0) < ? LIMIT 1"
GIVE_UP = """
    UPDATE job SET state = 'failed', code = ?1, finished_at = ?2, owner = NULL, beat_at = NULL,
        error = 'the server ended ' || attempts || ' times during this job: it is not tried again by itself'
    WHERE state = 'running' AND coalesce(beat_at, 0) < ?3 AND kind = ?4 AND attempts >= ?5
"""
TAKE_BACK = """
    UPDATE job SET state = 'queued', owner = NULL, beat_at = NULL
    WHERE state = 'running' AND coalesce(beat_at, 0) < ?
"""
PUT_BACK = """
    UPDATE job SET state = 'queued', owner = NULL, beat_at = NULL, attempts = attempts - 1
    WHERE id = ? AND owner = ? AND state = 'running'
"""
PROGRESS = "UPDATE job SET progress = ?, beat_at = ? WHERE id = ? AND owner = ? AND state = 'running'"
FINISH = """
    UPDATE job SET state = ?, result = ?, error = ?, code = ?, finished_at = ?, owner = NULL, beat_at = NULL
    WHERE id = ? AND owner = ? AND state = 'running'
"""
CANCEL = """
    UPDATE job SET state = 'cancelled', finished_at = ?, owner = NULL, beat_at = NULL
    WHERE id = ? AND state IN ('queued', 'running')
"""
RETRY = """
    UPDATE job SET state = 'queued', queued_at = ?, attempts = 0, progress = '{}', result = NULL,
        error = NULL, code = NULL, started_at = NULL, finished_at = NULL
    WHERE id = ?
"""
WAITING = "SELECT count(*) FROM job WHERE kind = ? AND state = 'queued'"
SPENT = """
    SELECT cost, queued_at FROM job WHERE client = ? AND kind = ? AND queued_at > ? AND cost IS NOT NULL
        AND NOT (state = 'cancelled' AND started_at IS NULL)
    ORDER BY queued_at
"""
PACES = """
    SELECT (finished_at - started_at) / cost FROM job
    WHERE kind = ? AND state = 'succeeded' AND cost > 0 ORDER BY queued_at DESC LIMIT ?
"""
FORGET_KEYS = "DELETE FROM idempotency WHERE created_at < ?"
FIND_KEY = "SELECT digest, job FROM idempotency WHERE client = ? AND key = ?"
KEEP_KEY = "INSERT INTO idempotency (client, key, digest, job, created_at) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Job:
    """`progress` and `result` are what the kind of job reports, `code` says for programs why it failed.

    `client` and `cost` are what its request said, `attempts` how often it was begun. `position` is 0 for a
    running job and 1 for the next one, `eta_seconds` when it will have ended; the table leaves them out.
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
class NewJob:
    """`client` pays `cost` for it ("": nobody); `subject` finds it again (`JobTable.about`)."""

    id: str
    kind: str
    params: dict[str, JSONValue]
    client: str = ""
    cost: float | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended, in the words of `Job`."""

    state: State
    result: dict[str, JSONValue] | None = None
    error: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What stands against one more job of a kind: jobs that wait, and what the client has spent this hour.

    `spent` holds (cost, when it was queued), the oldest first; `seconds_per_unit` of cost is None at first.
    """

    waiting: int
    spent: tuple[tuple[float, float], ...]
    seconds_per_unit: float | None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key of a client, and a digest of what came with it."""

    client: str
    key: str
    digest: str

    @classmethod
    def of(cls, client: str, key: str, body: dict[str, JSONValue]) -> "IdempotencyKey":
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return cls(client, key, digest)


class JobTable:
    """Each method is one transaction. Safe to use from threads, and from several processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Job:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return _get(connection, job_id)

    def newest(self, limit: int) -> list[Job]:
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(NEWEST, (limit,))]

    def newest_of(self, kind: str) -> Job | None:
        """The one that was queued last, whatever became of it."""
        return self._find(NEWEST_OF, kind)

    def active(self, kind: str) -> Job | None:
        """The job of this kind that runs, or else the next one."""
        return self._find(ACTIVE, kind)

    def about(self, subject: str) -> Job | None:
        """The newest job with this subject."""
        return self._find(ABOUT, subject)

    def about_any(self, prefix: str) -> list[Job]:
        """Every job whose subject begins so, the oldest first."""
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(ABOUT_ANY, (prefix,))]

    def up_to(self, job: Job) -> list[Job]:
        """Those of its kind that run or stand before it in the queue, and itself."""
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(UP_TO, (job.kind, job.queued_at, job.id))]

    def seconds_per_unit(self, kind: str) -> float | None:
        """Seconds for a cost of one, as the latest jobs of this kind took; None: not known yet."""
        with self._database.read() as connection:
            return _seconds_per_unit(connection, kind)

    def submit(
        self,
        new: NewJob,
        admit: Callable[[Load], None],
        key: IdempotencyKey | None = None,
        *,
        unless: Literal["kind", "subject"] | None = None,
    ) -> str:
        """Queue a job, and the id of it; or that of the job that takes its place.

        Args:
            new: The job.
            admit: Asked before it is queued.
            key: Finds the job that it has started before.
            unless: A job of the same kind or subject that waits or runs already takes its place.

        Raises:
            ReusedKeyError: `key` came with something else before.
            LimitError: `admit` says no.
        """
        now = time.time()
        with self._database.write() as connection:
            known = None if key is None else _find_key(connection, key, now)
            if known is not None:
                return known
            same = _same(connection, new, unless)
            if same is not None:
                return same
            admit(_load(connection, new.kind, new.client, now))
            values = (new.id, new.kind, json.dumps(new.params), now, new.client, new.cost, new.subject)
            connection.execute(INSERT, values)
            if key is not None:
                connection.execute(KEEP_KEY, (key.client, key.key, key.digest, new.id, now))
        return new.id

    def retry(self, job_id: str, admit: Callable[[Load], None]) -> None:
        """Queue a job that failed or was cancelled again, as the last one.

        Raises:
            ConflictError: It is in another state.
            LimitError: `admit` says no.
        """
        now = time.time()
        with self._database.write() as connection:
            job = _get(connection, job_id)
            if job.state not in ("failed", "cancelled"):
                raise ConflictError(
                    f"job {job_id} is {job.state}: only failed or cancelled jobs can be retried"
                )
            admit(_load(connection, job.kind, job.client, now))
            connection.execute(RETRY, (now, job_id))

    def cancel(self, job_id: str) -> None:
        """End a job that waits, or that another process runs: that one hears of it at its next beat.

        Raises ConflictError: it has ended already.
        """
        with self._database.write() as connection:
            if connection.execute(CANCEL, (time.time(), job_id)).rowcount == 0:
                raise ConflictError(f"job {job_id} has {_get(connection, job_id).state} already")

    def take(self, kind: str, owner: str) -> Job | None:
        """The next job of this kind, now running for `owner`."""
        with self._database.read() as connection:  # mostly there is none: no need to wait for writers
            if connection.execute(NEXT, (kind,)).fetchone() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(NEXT, (kind,)).fetchone()
            if row is None:
                return None
            connection.execute(TAKE, (owner, time.time(), _job(row).id))
            return _get(connection, _job(row).id)

    def beat(self, job_id: str, owner: str) -> bool:
        """Renew the lease; whether the job is still the owner's."""
        return self._changed(BEAT, time.time(), job_id, owner)

    def progress(self, job_id: str, owner: str, values: Mapping[str, JSONValue]) -> bool:
        """Say how far it is, which renews the lease; whether the job is still the owner's."""
        return self._changed(PROGRESS, json.dumps(values), time.time(), job_id, owner)

    def finish(self, job_id: str, owner: str, ending: Ending) -> bool:
        """Whether the job was still the owner's to end."""
        result = None if ending.result is None else json.dumps(ending.result)
        values = (ending.state, result, ending.error, ending.code, time.time())
        return self._changed(FINISH, *values, job_id, owner)

    def put_back(self, job_id: str, owner: str) -> None:
        """Queue it again where it stood. A polite end is no failed attempt."""
        self._changed(PUT_BACK, job_id, owner)

    def take_back(self, lease_s: float, most_attempts: Mapping[str, int]) -> bool:
        """Queue running jobs again whose owner was not heard of for `lease_s`; whether there were any.

        One that was begun as often as `most_attempts` of its kind allows is given up: it has failed.
        """
        now = time.time()
        with self._database.read() as connection:
            if connection.execute(ANY_ABANDONED, (now - lease_s,)).fetchone() is None:
                return False
        with self._database.write() as connection:
            for kind, most in most_attempts.items():
                connection.execute(GIVE_UP, (GAVE_UP, now, now - lease_s, kind, most))
            connection.execute(TAKE_BACK, (now - lease_s,))
        return True

    def _find(self, statement: str, value: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(statement, (value,)).fetchone()
            return None if row is None else _job(row)

    def _changed(self, statement: str, *values: str | float | None) -> bool:
        with self._database.write() as connection:
            return connection.execute(statement, values).rowcount == 1


def _get(connection: Connection, job_id: str) -> Job:
    row = connection.execute(ONE, (job_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no job with id {job_id!r}")
    return _job(row)


def _same(connection: Connection, new: NewJob, unless: Literal["kind", "subject"] | None) -> str | None:
    """The job that makes `new` needless."""
    if unless is None:
        return None
    statement, value = (ACTIVE, new.kind) if unless == "kind" else (ABOUT, new.subject)
    row = connection.execute(statement, (value,)).fetchone()
    return None if row is None or _job(row).state in FINAL else _job(row).id


def _find_key(connection: Connection, key: IdempotencyKey, now: float) -> str | None:
    connection.execute(FORGET_KEYS, (now - KEY_KEPT_S,))
    row = connection.execute(FIND_KEY, (key.client, key.key)).fetchone()
    if row is None:
        return None
    digest, job = row
    if digest != key.digest:
        raise ReusedKeyError(
            f"Idempotency-Key {key.key[:80]!r} came with another body before: send that, or a new key"
        )
    return str(job)


def _load(connection: Connection, kind: str, client: str, now: float) -> Load:
    (waiting,) = connection.execute(WAITING, (kind,)).fetchone()
    spent = connection.execute(SPENT, (client, kind, now - HOUR_S)).fetchall() if client else []
    return Load(waiting, tuple((cost, at) for cost, at in spent), _seconds_per_unit(connection, kind))


def _seconds_per_unit(connection: Connection, kind: str) -> float | None:
    found = [row[0] for row in connection.execute(PACES, (kind, RECENT)) if row[0] is not None]
    return statistics.median(found) if found else None


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
