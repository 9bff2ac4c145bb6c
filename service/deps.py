"""What routes ask for: the services of the running application, and a place in the queue.

All `async`: they never wait, and a plain `def` would cost a trip through the thread pool each.
"""

from collections.abc import AsyncIterator
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import Depends, HTTPException, Request

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
        raise HTTPException(429, "too many searches at once: try again shortly", {"Retry-After": "1"})
    try:
        yield
    finally:
        places.release()


ServicesDep = Annotated[Services, Depends(_services)]
JobsDep = Annotated[JobRunner, Depends(_jobs)]
Queued = Depends(_slot)
