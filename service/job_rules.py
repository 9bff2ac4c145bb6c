"""What keeps a queue fair and bounded. Statements, not transactions: the caller holds the connection."""

import hashlib
import json
import statistics
import time
from dataclasses import dataclass
from math import ceil

from indexer.errors import BudgetError, QueueFullError, ReusedKeyError
from indexer.tables.database import Connection
from indexer.types import JSONValue

HOUR_S = 3600.0
KEY_KEPT_S = 24 * HOUR_S
RECENT = 20  # finished jobs that an estimate rests on
GUESS_S = 10  # to wait for a place, while nothing is known of how long jobs take

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
KNOWN_KEY = "SELECT digest, job FROM idempotency WHERE client = ? AND key = ?"


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds on one kind of job; None: no bound.

    `most_waiting` jobs may stand in the queue. `per_hour` is the cost that one client may cause in an hour.
    A job during which the process died `most_attempts` times is not tried again.
    """

    most_waiting: int | None = None
    per_hour: float | None = None
    most_attempts: int | None = None

    def admit(self, connection: Connection, kind: str, client: str, cost: float | None) -> None:
        """Raises QueueFullError or BudgetError, with the seconds after which to try again."""
        if self.most_waiting is not None:
            (waiting,) = connection.execute(WAITING, (kind,)).fetchone()
            if waiting >= self.most_waiting:
                wait_s = ceil(pace(connection, kind) or GUESS_S)
                raise QueueFullError(
                    f"{waiting} jobs wait already, the most allowed: try again later", wait_s
                )
        if self.per_hour is not None and client and cost is not None:
            self._check_budget(connection, kind, client, cost)

    def _check_budget(self, connection: Connection, kind: str, client: str, cost: float) -> None:
        assert self.per_hour is not None
        now = time.time()
        spent = connection.execute(SPENT, (client, kind, now - HOUR_S)).fetchall()
        over = sum(row[0] for row in spent) + cost - self.per_hour
        if over <= 0:
            return
        free_at = now + HOUR_S
        for one_cost, queued_at in spent:
            over -= one_cost
            if over <= 0:
                free_at = queued_at + HOUR_S
                break
        raise BudgetError(
            f"{cost:g} more would be over the {self.per_hour:g} an hour that one client may ask for",
            max(1, ceil(free_at - now)),
        )


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key of a client, and what came with it."""

    client: str
    key: str
    digest: str

    @classmethod
    def of(cls, client: str, key: str, body: dict[str, JSONValue]) -> "Once":
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return cls(client, key, digest)

    def find(self, connection: Connection) -> str | None:
        """The job that this key has started. ReusedKeyError: for something else."""
        connection.execute("DELETE FROM idempotency WHERE created_at < ?", (time.time() - KEY_KEPT_S,))
        row = connection.execute(KNOWN_KEY, (self.client, self.key)).fetchone()
        if row is None:
            return None
        digest, job = row
        if digest != self.digest:
            raise ReusedKeyError(
                f"Idempotency-Key {self.key[:80]!r} came with another body before: send that, or a new key"
            )
        return str(job)

    def keep(self, connection: Connection, job: str) -> None:
        connection.execute(
            "INSERT INTO idempotency (client, key, digest, job, created_at) VALUES (?, ?, ?, ?, ?)",
            (self.client, self.key, self.digest, job, time.time()),
        )


def pace(connection: Connection, kind: str) -> float | None:
    """Seconds for a cost of one, as the latest jobs of this kind took; None: not known yet."""
    found = [row[0] for row in connection.execute(PACES, (kind, RECENT)) if row[0] is not None]
    return statistics.median(found) if found else None
