"""What routes in the shapes of other programs share: they wait for their job, and answer what it made."""

import asyncio
import time

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from indexer.errors import (
    ConflictError,
    InvalidInputError,
    KallosError,
    OutOfMemoryError,
    PictureRefusedError,
    TookTooLongError,
    UnavailableError,
    UnsafePictureError,
)
from indexer.tables.generated import Generation
from indexer.tables.jobs import FINAL, Job
from service.generation.image_service import ImageGenerationService
from service.generation.queue import GenerationQueue
from service.generation.spec import GenerationSpec
from service.jobs import JobRunner

POLL_S = 0.1  # between two looks at a job: one costs a lookup in the database
# What a failed job's code, or the state of a cancelled one, is as an error.
FAILURES: dict[str, type[KallosError]] = {
    kind.code: kind for kind in (InvalidInputError, PictureRefusedError, UnsafePictureError, OutOfMemoryError)
} | {"cancelled": ConflictError}


async def pictures_for(
    spec: GenerationSpec,
    request: Request,
    queue: GenerationQueue,
    jobs: JobRunner,
    image_service: ImageGenerationService,
    *,
    client: str,
    wait_s: float,
) -> list[Generation]:
    """Queue `spec` and wait for it. When the client goes, or the time is over, the job is cancelled.

    It waits on the event loop: forty patient clients must not take the threads that answer searches.

    Raises:
        TookTooLongError: `wait_s` seconds were not enough.
        KallosError: Why it was not queued, or why it failed.
    """
    job = await run_in_threadpool(queue.submit, spec, client=client)
    deadline = time.monotonic() + wait_s
    while job.state not in FINAL:
        late = time.monotonic() > deadline
        if late or await request.is_disconnected():
            await run_in_threadpool(_cancel, jobs, job.id)
            raise TookTooLongError(
                f"the pictures were not ready within {wait_s:g} s: POST /generate answers at once"
            )
        await asyncio.sleep(POLL_S)
        job = await run_in_threadpool(jobs.get, job.id)
    if job.state != "succeeded":
        raise _failure(job)
    return await run_in_threadpool(image_service.store.of_job, job.id)


def _cancel(jobs: JobRunner, job_id: str) -> None:
    try:
        jobs.cancel(job_id)
    except ConflictError:
        return  # it has ended in this very moment


def _failure(job: Job) -> KallosError:
    kind = FAILURES.get(job.code or job.state, UnavailableError)
    return kind(job.error or f"the job was {job.state}")
