"""Long work: start it, watch it, stop it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from indexer.tables.jobs import FINAL, IdempotencyKey, Job
from indexer.types import JSONValue
from service.deps import ClientDep, IdempotencyHeader, JobsDep, ServicesDep
from service.index_job import check_sources
from service.jobs import JobRequest, as_json
from service.schemas import Body

router = APIRouter(prefix="/jobs", tags=["jobs"])

POLL_S = 0.3  # between two looks at a job while streaming its events


class IndexRequest(Body):
    """Folders, tar shards or lists below one of the folders in KALLOS_SOURCES."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sources": ["/photos"], "sync": True}]})

    sources: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=100)
    ]
    sync: bool = False


class JobBody(BaseModel):
    """`state`: queued, running, succeeded, failed or cancelled. Times are in seconds since 1970.

    `position`: 0 while it runs, 1 when it is the next. `eta_seconds`: until it has ended, judged by the
    latest of its kind. `code` is why it failed, for programs; `error` the same for people.
    """

    id: str
    kind: str
    state: str
    params: dict[str, Any]
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    code: str | None
    position: int | None
    eta_seconds: float | None
    attempts: int
    created_at: float
    started_at: float | None
    finished_at: float | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls.model_validate(as_json(job))


class JobList(BaseModel):
    jobs: list[JobBody]


@router.post("/index", status_code=status.HTTP_202_ACCEPTED)
def start_index(
    request: IndexRequest,
    services: ServicesDep,
    jobs: JobsDep,
    client: ClientDep,
    response: Response,
    idempotency_key: IdempotencyHeader = None,
) -> JobBody:
    """Index pictures in the background. The job survives a restart and goes on where it was.

    The same `Idempotency-Key` and body within a day find the same job.
    """
    sources = check_sources(request.sources, services.settings.sources)
    params: dict[str, JSONValue] = {"sources": [*sources], "sync": request.sync}
    key = None if idempotency_key is None else IdempotencyKey.of(client, idempotency_key, {"index": params})
    job = jobs.submit("index", params, JobRequest(key=key))
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobBody.of(job)


@router.post("/compact", status_code=status.HTTP_202_ACCEPTED)
def start_compact(jobs: JobsDep, response: Response) -> JobBody:
    """Build the search index anew in the background, and give back the space of deleted pictures.

    The server does this by itself when it is due. A compaction that waits or runs already is returned.
    """
    job = jobs.submit_once("compact", {})
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobBody.of(job)


@router.get("")
def list_jobs(jobs: JobsDep) -> JobList:
    """The newest fifty."""
    return JobList(jobs=[JobBody.of(job) for job in jobs.list()])


@router.get("/{job_id}")
def get_job(job_id: str, jobs: JobsDep) -> JobBody:
    return JobBody.of(jobs.get(job_id))


@router.delete("/{job_id}")
def cancel_job(job_id: str, jobs: JobsDep) -> JobBody:
    """Stop a job. What it has written stays; a running one ends within a batch."""
    return JobBody.of(jobs.cancel(job_id))


@router.post("/{job_id}/retry", status_code=status.HTTP_202_ACCEPTED)
def retry_job(job_id: str, jobs: JobsDep, response: Response) -> JobBody:
    """Queue a failed or cancelled job again, under the same id and behind those that wait."""
    job = jobs.retry(job_id)
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobBody.of(job)


def _known(job_id: str, jobs: JobsDep) -> str:
    """A 404 is still possible here, not once the stream has begun."""
    return jobs.get(job_id).id


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def watch_job(job_id: Annotated[str, Depends(_known)], jobs: JobsDep) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the job whenever it changes, until it ends. `event` is its state."""
    last = None
    while True:
        job = await run_in_threadpool(jobs.get, job_id)
        if job != last:
            yield ServerSentEvent(event=job.state, data=as_json(job))
            last = job
        if job.state in FINAL:
            return
        await asyncio.sleep(POLL_S)
