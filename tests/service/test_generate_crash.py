"""SIGKILL while pictures are made: the job goes on where it was, or after three deaths is given up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexer.collection.collection import DATABASE
from indexer.collection.verify import verify
from indexer.tables.database import Database
from service.job_rules import MOST_ATTEMPTS
from tests.support.processes import PATIENCE_S, program, until

pytestmark = pytest.mark.slow


@contextmanager
def running(data_dir: Path, pause_s: float) -> Iterator[httpx.Client]:
    """A server in a process of its own, killed with SIGKILL at the end."""
    with program("tests.support.generating_server", data_dir, pause_s) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
            yield client
            process.kill()
            assert process.wait() == -signal.SIGKILL


def job_of(client: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
    return found


def test_a_killed_job_goes_on_where_it_was(tmp_path: Path) -> None:
    with running(tmp_path, 0.05) as client:
        body = {"prompt": "a red fox", "count": 3, "seed": 5}
        job_id = client.post("/generate", json=body, headers={"Idempotency-Key": "k"}).json()["id"]
        waiting = client.post("/generate", json={"prompt": "a blue bird"}).json()["id"]
        until(lambda: job_of(client, job_id), lambda job: job["progress"].get("picture", 0) >= 2)
        (first,) = client.get("/generations").json()["generations"]
    with running(tmp_path, 0.0) as client:
        job = until(lambda: job_of(client, job_id), lambda job: job["state"] == "succeeded")
        assert (job["state"], job["attempts"]) == ("succeeded", 2)
        made = [client.get(f"/generations/{one}").json() for one in job["result"]["generations"]]
        assert [one["seed"] for one in made] == [5, 6, 7]
        assert made[0] == first  # not made again
        assert client.post("/generate", json=body, headers={"Idempotency-Key": "k"}).json()["id"] == job_id
        assert until(lambda: job_of(client, waiting), lambda it: it["state"] == "succeeded")["attempts"] == 1
        assert len(client.get("/generations").json()["generations"]) == 4
    assert verify(tmp_path, full=True).problems == []


def test_a_job_that_kills_the_server_is_given_up(tmp_path: Path) -> None:
    with running(tmp_path, 0.2) as client:
        job_id = client.post("/generate", json={"prompt": "a red fox"}).json()["id"]
        until(lambda: job_of(client, job_id), lambda job: job["attempts"] == 1)
    database = Database(tmp_path / DATABASE)
    with database.write() as connection:  # as if that had happened twice more
        connection.execute("UPDATE job SET attempts = ? WHERE state = 'running'", (MOST_ATTEMPTS,))
    database.close()
    with running(tmp_path, 0.0) as client:
        job = until(lambda: job_of(client, job_id), lambda it: it["finished_at"] is not None)
        assert (job["state"], job["code"]) == ("failed", "gave_up")
        client.post(f"/jobs/{job_id}/retry")  # what killed it was mended
        job = until(lambda: job_of(client, job_id), lambda it: it["finished_at"] is not None)
        assert (job["state"], job["attempts"]) == ("succeeded", 1)


def test_a_second_server_draws_nothing_of_what_the_first_one_draws(tmp_path: Path) -> None:
    with running(tmp_path, 0.05) as first:
        job_id = first.post("/generate", json={"prompt": "a red fox", "count": 4, "seed": 5}).json()["id"]
        until(lambda: job_of(first, job_id), lambda job: job["state"] == "running")
        with running(tmp_path, 0.05) as second:
            job = until(lambda: job_of(second, job_id), lambda it: it["finished_at"] is not None)
            assert (job["state"], job["attempts"], len(job["result"]["generations"])) == ("succeeded", 1, 4)
            assert len(second.get("/generations").json()["generations"]) == 4
