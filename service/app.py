"""The application: services for its lifetime, routes, and one table of errors."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from threading import BoundedSemaphore

from fastapi import FastAPI

from rerank.generate.request import Generator
from service import errors
from service.generation.on_miss import GenerateOnMiss
from service.generation.queue import GenerationQueue
from service.generation.work import KIND, GenerateWork
from service.index_job import IndexWork
from service.job_rules import QueueLimits
from service.jobs import JobRunner, Work
from service.limits import BodyLimit
from service.metrics import Metrics, Timed
from service.routes import (
    axes,
    feedback,
    gallery,
    generate,
    health,
    images,
    jobs,
    openai_images,
    search,
    webui,
)
from service.routes import metrics as metrics_route
from service.settings import Settings
from service.stats import stats_of
from service.upkeep import CompactWork, Upkeep, aims_of
from service.wiring import Services, open_server

DESCRIPTION = """Find pictures by words or by example, and sort them by learned axes.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Cursors are opaque and stay true while
others write. Every search answer says what was searched, how, and how long each stage took.
"""


def create_app(settings: Settings, *, generator: Generator | None = None) -> FastAPI:
    """Nothing is opened or loaded before the server starts. `generator` replaces the builtin one."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_server(settings, generator=generator) as services, at_work(services) as runner:
            queue = GenerationQueue(services.image_service, runner)
            app.state.services, app.state.jobs, app.state.queue = services, runner, queue
            app.state.on_miss = GenerateOnMiss(
                queue, runner, services.image_service.store, pause_s=settings.generate_pause_s
            )
            stats = partial(stats_of, services.collection, settings.recall_alert)
            metrics.watch(stats, services.search.rephraser)
            app.state.places = BoundedSemaphore(settings.max_concurrent)
            yield

    app = FastAPI(
        title="Kallos",
        version=version("kallos"),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=errors.RESPONSES,
    )
    metrics = app.state.metrics = Metrics()
    app.add_middleware(Timed, metrics=metrics)
    app.add_middleware(BodyLimit, most=settings.max_upload_bytes)
    errors.install(app)
    for module in (
        search,
        feedback,
        images,
        axes,
        jobs,
        generate,
        openai_images,
        webui,
        health,
        metrics_route,
        gallery,
    ):
        app.include_router(module.router)
    return app


@contextmanager
def at_work(services: Services) -> Iterator[JobRunner]:
    """What happens beside requests: jobs, and looking after the collection."""
    settings, collection = services.settings, services.collection
    aims = partial(aims_of, settings, services.encoder, background=True)
    kinds: dict[str, Work] = {
        "index": IndexWork(services.intake),
        "compact": CompactWork(collection, aims),
        KIND: GenerateWork(services.image_service),
    }
    limits = {KIND: QueueLimits(settings.generate_queue, settings.generate_per_hour)}
    runner = JobRunner(collection.database, kinds, limits, lease_s=settings.job_lease_s)
    upkeep = Upkeep(collection, aims, runner)
    with ExitStack() as stack:
        runner.start()
        stack.callback(runner.close)
        upkeep.start()
        stack.callback(upkeep.close)
        yield runner
