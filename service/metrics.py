"""What GET /metrics tells: requests as they happen, the state of the collection when asked."""

import time
from collections.abc import Callable, Iterator

from fastapi import Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank.rephrase.rephraser import Rephraser
from service.stats import Stats

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """One registry for each application: nothing is shared between two of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route")
        self._seconds = Histogram(
            "kallos_request_seconds", "Time to answer", labels, buckets=BUCKETS, registry=self.registry
        )
        self._requests = Counter(
            "kallos_requests", "Requests answered", (*labels, "status"), registry=self.registry
        )

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        self._seconds.labels(method, route).observe(seconds)
        self._requests.labels(method, route, status).inc()

    def watch(self, stats: Callable[[], Stats], rephraser: Rephraser) -> None:
        """Report a collection, and what became of queries, too."""
        self.registry.register(_Collection(stats, rephraser))

    def text(self) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class Timed:
    """ASGI middleware: a plain one, because Starlette's wrapper costs more than a vector search."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")  # never the path itself: it has ids
            self._metrics.record(scope["method"], route, status, time.perf_counter() - started)


class _Collection:
    def __init__(self, stats: Callable[[], Stats], rephraser: Rephraser) -> None:
        self._stats = stats
        self._rephraser = rephraser

    def describe(self) -> list[Metric]:
        return []  # without this, registering would already collect

    def collect(self) -> Iterator[Metric]:
        for name, (help_text, value) in _gauges(self._stats()).items():
            yield GaugeMetricFamily(f"kallos_{name}", help_text, value=value)
        status = self._rephraser.status
        outcomes = CounterMetricFamily(
            "kallos_rephrased", "Queries by what became of them", labels=["outcome"]
        )
        for outcome, count in status.outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        closed = float(status.breaker == "closed")
        yield GaugeMetricFamily("kallos_llm_asked", "1 while the language model may be asked", value=closed)


def _gauges(stats: Stats) -> dict[str, tuple[str, float]]:
    gauges: dict[str, tuple[str, float]] = {
        "images": ("Pictures in the collection", stats.images),
        "generation": ("Changes so far", stats.data_version),
        "index_on_gpu": ("1 when a GPU searches the index", not stats.index_device.startswith("cpu")),
        "gpu_failures": ("Searches that the GPU could not do and the CPU did", stats.gpu_failures),
        "indexed_rows": ("Rows that the index covers", stats.indexed_rows),
        "unindexed_rows": ("Rows behind the index, scanned exactly", stats.unindexed_rows),
        "deleted_rows": ("Rows of deleted pictures, not yet given back", stats.deleted_rows),
        "disk_bytes": ("Bytes of the collection's folder", stats.disk_bytes),
        "recall_alert_threshold": ("Recall below which `kallos_recall_alert` is 1", stats.recall_alert),
        "recall_alert": ("1 when measured recall is surely below the threshold", stats.alert),
    }
    if stats.recall is not None:
        gauges["recall_at_10"] = ("Recall@10 of live approximate searches", stats.recall.recall)
        gauges["recall_at_10_low"] = ("Lower end of its 95 % interval", stats.recall.low)
        gauges["recall_at_10_high"] = ("Upper end of its 95 % interval", stats.recall.high)
        gauges["recall_samples"] = ("Searches that it was measured on", stats.recall.samples)
    return gauges
