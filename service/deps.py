"""What routes ask for: the services of the running application, and a place in the queue.

All `async`: they never wait, and a plain `def` would cost a trip through the thread pool each.
"""

import hashlib
from collections.abc import AsyncIterator
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import Depends, Header, Request

from indexer.errors import LimitError
from service.generation.on_miss import GenerateOnMiss
from service.generation.queue import GenerationQueue
from service.jobs import JobRunner
from service.wiring import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _jobs(request: Request) -> JobRunner:
    jobs: JobRunner = request.app.state.jobs
    return jobs


async def _slot(request: Request) -> AsyncIterator[None]:
    """One of KALLOS_MAX_CONCURRENT places; beyond them it is kinder to refuse than to let all wait."""
    places: BoundedSemaphore = request.app.state.places
    if not places.acquire(blocking=False):
        raise LimitError("too much at once (KALLOS_MAX_CONCURRENT): try again shortly", retry_after_s=1)
    try:
        yield
    finally:
        places.release()


async def _queue(request: Request) -> GenerationQueue:
    queue: GenerationQueue = request.app.state.queue
    return queue


async def _on_miss(request: Request) -> GenerateOnMiss:
    on_miss: GenerateOnMiss = request.app.state.on_miss
    return on_miss


async def _client(
    request: Request,
    x_api_key: Annotated[str | None, Header(max_length=1000)] = None,
    authorization: Annotated[str | None, Header(max_length=8000)] = None,
) -> str:
    """Whose budget it is: that of the key, or else of the address. A key is not kept as it came.

    OpenAI's clients send theirs as a bearer token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    key = x_api_key or (token.strip() if scheme.lower() == "bearer" else "")
    if key:
        return f"key:{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return f"address:{request.client.host if request.client else 'unknown'}"


ServicesDep = Annotated[Services, Depends(_services)]
JobsDep = Annotated[JobRunner, Depends(_jobs)]
GenerationQueueDep = Annotated[GenerationQueue, Depends(_queue)]
OnMissDep = Annotated[GenerateOnMiss, Depends(_on_miss)]
IdempotencyHeader = Annotated[str | None, Header(min_length=1, max_length=255)]
ClientDep = Annotated[str, Depends(_client)]
Queued = Depends(_slot)
