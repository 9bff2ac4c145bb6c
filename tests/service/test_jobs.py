"""The queue: order, places, estimates, limits, keys, retries, and what a killed process leaves."""

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from indexer.errors import (
    BudgetError,
    ConflictError,
    InvalidInputError,
    QueueFullError,
    ReusedKeyError,
)
from indexer.tables.database import MIGRATIONS, Database
from indexer.tables.jobs import HOUR_S, IdempotencyKey
from indexer.types import JSONValue
from service.job_rules import QueueLimits
from service.jobs import Control, JobRequest, JobRunner
from tests.support.processes import PATIENCE_S, until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "kallos.sqlite")
    yield database
    database.close()


def noted(params: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
    if params.get("wrong"):
        raise InvalidInputError("wrong")
    return {"seen": params["n"]}


def runner_of(database: Database, **limits: int) -> JobRunner:
    return JobRunner(database, {"note": noted, "free": noted}, {"note": QueueLimits(**limits)})


def sql(database: Database, statement: str, *values: object) -> None:
    with database.write() as connection:
        connection.execute(statement, values)


def test_places_count_from_the_next_and_estimates_add_up(database: Database) -> None:
    jobs = runner_of(database)
    first, second = (jobs.submit("note", {"n": n}, JobRequest(cost=cost)) for n, cost in ((1, 2), (2, 3)))
    jobs.submit("free", {"n": 0}, JobRequest(cost=100))  # another lane
    assert [(first.position, first.eta_seconds), (second.position, second.eta_seconds)] == [
        (1, None),
        (2, None),
    ]
    for seconds, cost in ((4, 1), (8, 4), (30, 3)):  # 4, 2 and 10 for one: the middle is 4
        done = jobs.submit("note", {"n": 3}, JobRequest(cost=cost))
        sql(
            database,
            "UPDATE job SET state = 'succeeded', started_at = 100, finished_at = ? WHERE id = ?",
            100 + seconds,
            done.id,
        )
    sql(
        database,
        "UPDATE job SET state = 'running', progress = '{\"done\": 1, \"total\": 4}' WHERE id = ?",
        first.id,
    )
    now = jobs.get(first.id)
    assert (now.position, now.eta_seconds) == (0, 4 * 2 * 0.75)
    assert (jobs.get(second.id).position, jobs.get(second.id).eta_seconds) == (1, 4 * (2 * 0.75 + 3))


def test_the_queue_is_bounded_for_everybody(database: Database) -> None:
    jobs = runner_of(database, most_waiting=2)
    for n in (1, 2):
        jobs.submit("note", {"n": n})
        jobs.submit("free", {"n": n})
    with pytest.raises(QueueFullError) as full:
        jobs.submit("note", {"n": 3})
    assert full.value.retry_after_s >= 1
    jobs.submit("free", {"n": 3})
    assert [job.kind for job in jobs.list()].count("note") == 2


def test_a_client_has_a_share_of_each_hour(database: Database) -> None:
    jobs = runner_of(database, per_hour=5)
    early = jobs.submit("note", {"n": 1}, JobRequest("ann", 4))
    with pytest.raises(BudgetError) as spent:
        jobs.submit("note", {"n": 2}, JobRequest("ann", 2))
    assert HOUR_S - 10 < spent.value.retry_after_s <= HOUR_S
    jobs.submit("note", {"n": 3}, JobRequest("bob", 5))
    jobs.submit("note", {"n": 4}, JobRequest("ann", 1))
    sql(database, "UPDATE job SET queued_at = queued_at - ? WHERE id = ?", HOUR_S, early.id)
    jobs.submit("note", {"n": 5}, JobRequest("ann", 4))


def test_what_was_cancelled_while_it_waited_is_free(database: Database) -> None:
    jobs = runner_of(database, per_hour=5)
    jobs.cancel(jobs.submit("note", {"n": 1}, JobRequest("ann", 5)).id)
    jobs.submit("note", {"n": 2}, JobRequest("ann", 5))


def test_a_key_starts_one_job(database: Database) -> None:
    jobs = runner_of(database, most_waiting=2)

    def ask(client: str, n: int) -> str:
        return jobs.submit(
            "note", {"n": n}, JobRequest(client, key=IdempotencyKey.of(client, "k", {"n": n}))
        ).id

    first = ask("ann", 1)
    assert ask("ann", 1) == first
    assert ask("bob", 1) != first  # keys of one client say nothing to another
    assert ask("ann", 1) == first  # also when the queue is full
    with pytest.raises(ReusedKeyError):
        ask("ann", 2)
    sql(database, "UPDATE idempotency SET created_at = created_at - 24 * 3600 - 1")
    with pytest.raises(QueueFullError):
        ask("ann", 2)


def test_a_key_starts_one_job_also_when_all_come_at_once(database: Database) -> None:
    jobs = runner_of(database)
    found: list[str] = []

    def ask() -> None:
        found.append(
            jobs.submit("note", {"n": 1}, JobRequest("ann", key=IdempotencyKey.of("ann", "k", {"n": 1}))).id
        )

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 1


def test_failed_and_cancelled_jobs_can_be_retried(database: Database) -> None:
    jobs = runner_of(database)
    gone = jobs.submit("note", {"n": 1})
    jobs.cancel(gone.id)
    wrong = jobs.submit("note", {"n": 2, "wrong": True})
    with pytest.raises(ConflictError, match="queued"):
        jobs.retry(wrong.id)
    again = jobs.retry(gone.id)
    assert (again.id, again.state, again.position) == (gone.id, "queued", 2)
    jobs.start()
    failed = until(lambda: jobs.get(wrong.id), lambda job: job.state == "failed")
    assert (failed.code, failed.error) == ("invalid_input", "wrong")
    assert until(lambda: jobs.get(gone.id), lambda job: job.state == "succeeded").result == {"seen": 1}
    jobs.close()


@pytest.mark.parametrize("kind", ["note", "free"])  # the second has no limits of its own
def test_a_job_that_kills_the_process_is_given_up(database: Database, kind: str) -> None:
    job = runner_of(database).submit(kind, {"n": 1})
    for attempts in (1, 2, 3):
        sql(database, "UPDATE job SET state = 'running', attempts = ? WHERE id = ?", attempts, job.id)
        jobs = runner_of(database, most_attempts=3)
        jobs.start()
        after = until(partial(jobs.get, job.id), lambda it: it.finished_at is not None)
        jobs.close()
        if attempts < 3:
            assert (after.state, after.attempts) == ("succeeded", attempts + 1)
        else:
            assert (after.state, after.code) == ("failed", "gave_up")
        sql(database, "UPDATE job SET finished_at = NULL WHERE id = ?", job.id)


def test_a_polite_end_is_no_failed_attempt(database: Database) -> None:
    begun = threading.Event()

    def patient(_: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
        begun.set()
        while not control.should_stop():
            threading.Event().wait(0.01)
        return {}

    jobs = JobRunner(database, {"note": patient}, {"note": QueueLimits(most_attempts=1)})
    job = jobs.submit("note", {})
    jobs.start()
    assert begun.wait(PATIENCE_S)
    jobs.close()
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("queued", 0)


def test_jobs_of_an_older_schema_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    connection = sqlite3.connect(path)
    for script in MIGRATIONS[:3]:
        connection.executescript(script)
    row = (
        "INSERT INTO job (id, kind, state, params, created_at) VALUES (?, 'note', 'queued', '{\"n\": 1}', ?)"
    )
    connection.executemany(row, [("later", 2.0), ("first", 1.0)])
    connection.execute("PRAGMA user_version = 3")
    connection.commit()
    connection.close()
    database = Database(path)
    jobs = runner_of(database)
    assert [jobs.get(name).position for name in ("first", "later")] == [1, 2]
    assert jobs.submit("note", {"n": 2}).position == 3
    database.close()


def test_a_subject_finds_its_newest_job(database: Database) -> None:
    jobs = runner_of(database)
    assert jobs.about("fox") is None
    jobs.submit("note", {"n": 1}, JobRequest(subject="fox"))
    newest = jobs.submit("note", {"n": 2}, JobRequest(subject="fox"))
    jobs.submit("note", {"n": 3}, JobRequest(subject="cat"))
    assert jobs.about("fox") == newest
