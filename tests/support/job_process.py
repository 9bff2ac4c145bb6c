"""A `JobRunner` in a process of its own, for tests that kill, pause and race it.

Usage: python -m tests.support.job_process DATABASE LEASE_S

Its jobs, of the kind "wait", end when the file named in their params appears, or when they are told to stop.
Each beginning and end is a line of JOBS.log beside the database: what, job, process.
"""

import os
import sys
import threading
import time
from pathlib import Path

from indexer.tables.database import Database
from indexer.types import JSONValue
from service.jobs import Control, JobRunner

KIND = "wait"


def wait(log: Path, params: dict[str, JSONValue], control: Control) -> dict[str, JSONValue]:
    _note(log, "begin", control.job_id)
    until = Path(str(params["until"]))
    while not until.exists() and not control.should_stop():
        time.sleep(0.01)
    _note(log, "end", control.job_id)
    return {"by": os.getpid()}


def runner(path: Path, lease_s: float) -> JobRunner:
    log = path.parent / "JOBS.log"
    return JobRunner(
        Database(path), {KIND: lambda params, control: wait(log, params, control)}, lease_s=lease_s
    )


def _note(log: Path, what: str, job_id: str) -> None:
    with log.open("a") as file:
        file.write(f"{what} {job_id} {os.getpid()}\n")


if __name__ == "__main__":
    jobs = runner(Path(sys.argv[1]), float(sys.argv[2]))
    jobs.start()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    threading.Event().wait()
