"""The application: services for its lifetime, routes, and one table of errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from threading import BoundedSemaphore

from fastapi import FastAPI

from rerank.generate.request import Generator
from service import errors
from service.generation.on_miss import GenerateOnMiss
from service.generation.orders import Orders
from service.generation.work import KIND, MOST_ATTEMPTS, GenerateWork
from service.index_job import IndexWork
from service.job_rules import Rules
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
from service.upkeep import CompactWork, Upkeep
from service.wiring import open_services

DESCRIPTION = """Find pictures by words or by example, and sort them by learned axes.

Errors are `application/problem+json` (RFC 9457) with a stable `code`. Cursors are opaque and stay true while
others write. Every search answer says what was searched, how, and how long each stage took.
"""


def create_app(settings: Settings, *, generator: Generator | None = None) -> FastAPI:
    """Nothing is opened or loaded before the server starts. `generator` replaces the builtin one."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = open_services(settings, create=True, serving=True, generator=generator)
        kinds: dict[str, Work] = {"index": IndexWork(services), "compact": CompactWork(services)}
        kinds[KIND] = GenerateWork(services.studio)
        runner = JobRunner(services.collection.database, kinds, {KIND: rules})
        orders = Orders(services.studio, runner)
        upkeep = Upkeep(services, runner)
        runner.start()
        upkeep.start()
        app.state.services, app.state.jobs = services, runner
        app.state.orders = orders
        app.state.on_miss = GenerateOnMiss(
            orders, runner, services.studio.store, pause_s=settings.generate_pause_s
        )
        metrics.watch(services)
        app.state.places = BoundedSemaphore(settings.max_concurrent)
        try:
            yield
        finally:
            upkeep.close()
            runner.close()
            services.close()

    rules = Rules(settings.generate_queue, settings.generate_per_hour, MOST_ATTEMPTS)
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
