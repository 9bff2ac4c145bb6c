"""Several servers on one data directory: each job runs in one of them, for as long as that one lives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from indexer.errors import ConflictError
from indexer.tables.database import Database
from indexer.tables.jobs import Ending, Job, JobTable, NewJob
from service.job_rules import MOST_ATTEMPTS
from service.jobs import JobRunner
from tests.support.job_process import KIND
from tests.support.processes import until

ROOT = Path(__file__).parents[2]
LEASE_S = 1.0
LONG_LEASE_S = 4.0  # where it must not run out, though the machine is busy


class Servers:
    """Processes that run jobs on one database."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._path = folder / "kallos.sqlite"
        self._log = folder / "JOBS.log"
        self._stack = stack
        self.database = Database(self._path)
        stack.callback(self.database.close)
        self.jobs = JobRunner(self.database, {})  # never started: it only asks

    def start(self, lease_s: float = LEASE_S) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.support.job_process", str(self._path), str(lease_s)]
        process = self._stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        return process

    def begun_by(self, process: subprocess.Popen[str]) -> int:
        """How often the process began a job."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return sum(line.startswith("begin") and line.endswith(f" {process.pid}") for line in lines)

    def job_that(self, job: Job, is_so: Callable[[Job], bool]) -> Job:
        return until(lambda: self.jobs.get(job.id), is_so)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path, stack)


def submitted(servers: Servers, tmp_path: Path) -> tuple[Job, Path]:
    ending = tmp_path / "end"
    return servers.jobs.submit(KIND, {"until": str(ending)}), ending


def test_a_second_server_leaves_a_running_job_alone(servers: Servers, tmp_path: Path) -> None:
    job, ending = submitted(servers, tmp_path)
    first = servers.start(LONG_LEASE_S)
    servers.job_that(job, lambda it: it.state == "running")
    second = servers.start(LONG_LEASE_S)
    time.sleep(1.5 * LONG_LEASE_S)  # only beats keep it
    assert (servers.jobs.get(job.id).state, servers.jobs.get(job.id).attempts) == ("running", 1)
    ending.touch()
    done = servers.job_that(job, lambda it: it.finished_at is not None)
    assert (done.state, done.attempts, done.result) == ("succeeded", 1, {"by": first.pid})
    assert (servers.begun_by(first), servers.begun_by(second)) == (1, 0)


def test_the_job_of_a_killed_server_goes_to_the_other_one(servers: Servers, tmp_path: Path) -> None:
    job, ending = submitted(servers, tmp_path)
    first = servers.start()
    servers.job_that(job, lambda it: it.state == "running")
    second = servers.start()
    first.kill()
    first.wait()
    taken = until(lambda: servers.begun_by(second), lambda count: count == 1)
    assert taken == 1
    ending.touch()
    done = servers.job_that(job, lambda it: it.finished_at is not None)
    assert (done.state, done.attempts, done.result) == ("succeeded", 2, {"by": second.pid})


def test_a_server_that_was_paused_has_no_say_in_what_became_of_its_job(
    servers: Servers, tmp_path: Path
) -> None:
    job, ending = submitted(servers, tmp_path)
    first = servers.start()
    servers.job_that(job, lambda it: it.state == "running")
    os.kill(first.pid, signal.SIGSTOP)
    second = servers.start()
    until(lambda: servers.begun_by(second), lambda count: count == 1)
    os.kill(first.pid, signal.SIGCONT)
    until(lambda: "end" in (tmp_path / "JOBS.log").read_text(), bool)  # it has heard that it lost the job
    assert servers.jobs.get(job.id).state == "running"
    ending.touch()
    done = servers.job_that(job, lambda it: it.finished_at is not None)
    assert (done.state, done.result) == ("succeeded", {"by": second.pid})


def test_any_server_cancels_a_job_of_any_other(servers: Servers, tmp_path: Path) -> None:
    job, ending = submitted(servers, tmp_path)
    servers.start()
    servers.job_that(job, lambda it: it.state == "running")
    assert servers.jobs.cancel(job.id).state == "cancelled"
    until(lambda: "end" in (tmp_path / "JOBS.log").read_text(), bool)  # without `ending`
    assert servers.jobs.get(job.id).state == "cancelled"
    with pytest.raises(ConflictError, match="cancelled already"):
        servers.jobs.cancel(job.id)
    assert not ending.exists()


def test_a_job_that_waits_is_taken_by_whichever_server_is_free(servers: Servers, tmp_path: Path) -> None:
    servers.start()
    job, ending = submitted(servers, tmp_path)  # by a process that runs none itself
    ending.touch()
    assert servers.job_that(job, lambda it: it.finished_at is not None).state == "succeeded"


def test_a_job_of_any_kind_is_given_up_after_a_few_deaths(tmp_path: Path) -> None:
    """What an owner of a picture that ends the process would otherwise see: a restart without an end."""
    database = Database(tmp_path / "kallos.sqlite")
    table = JobTable(database)
    table.submit(NewJob("poison", "index", {}), lambda _: None)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        taken = table.take("index", f"process {attempt}")  # which dies without another word
        assert taken is not None
        assert taken.attempts == attempt
        assert table.take("index", "another") is None
        assert not table.take_back(60.0, {"index": MOST_ATTEMPTS})
        assert table.take_back(0.0, {"index": MOST_ATTEMPTS})
    job = table.get("poison")
    assert (job.state, job.code, job.attempts) == ("failed", "gave_up", MOST_ATTEMPTS)
    database.close()


def test_only_jobs_without_a_live_owner_are_taken_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "kallos.sqlite")
    table = JobTable(database)
    for job_id in ("dead", "live"):
        table.submit(NewJob(job_id, job_id, {}), lambda _: None)
        assert table.take(job_id, f"owner of {job_id}") is not None
    with database.write() as connection:
        connection.execute("UPDATE job SET beat_at = beat_at - 120")
    assert table.beat("live", "owner of live")
    assert table.take_back(60.0, {})
    assert [table.get(job_id).state for job_id in ("dead", "live")] == ["queued", "running"]
    database.close()


def test_only_the_owner_of_a_job_can_say_what_became_of_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "kallos.sqlite")
    table = JobTable(database)
    table.submit(NewJob("one", "note", {}), lambda _: None)
    assert table.take("note", "ann") is not None
    assert not table.beat("one", "bob")
    assert not table.progress("one", "bob", {"done": 1})
    assert not table.finish("one", "bob", Ending("failed"))
    table.put_back("one", "bob")
    assert (table.get("one").state, table.get("one").progress) == ("running", {})
    assert table.beat("one", "ann")
    assert table.finish("one", "ann", Ending("succeeded", {"n": 1}))
    assert not table.finish("one", "ann", Ending("failed"))
    assert table.get("one").state == "succeeded"
    database.close()


def test_one_job_at_a_time_about_one_subject(tmp_path: Path) -> None:
    database = Database(tmp_path / "kallos.sqlite")
    table = JobTable(database)

    def ask(job_id: str, subject: str) -> str:
        new = NewJob(job_id, "note", {}, subject=subject)
        return table.submit(new, lambda _: None, unless="subject")

    assert [ask("a", "fox"), ask("b", "fox"), ask("c", "cat")] == ["a", "a", "c"]
    table.cancel("a")
    assert ask("d", "fox") == "d"
    database.close()
