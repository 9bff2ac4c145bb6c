"""Settings → a working Kallos: the only place where parts are chosen."""

import os
from dataclasses import dataclass
from pathlib import Path

from indexer.ann.gpu import Gpu
from indexer.axis_store import AxisStore
from indexer.collection import Collection
from indexer.encoders.registry import load_encoder
from indexer.errors import NotFoundError
from indexer.fetch import UrlFetcher
from indexer.images import Limits
from indexer.ingest import Ingest
from indexer.originals import OriginalStore
from indexer.protocols import Encoder
from indexer.recall_log import RecallLog
from indexer.thumbnails import ThumbnailStore
from rerank.defaults import ensure_default_axes
from rerank.engine import Engine
from rerank.monitor import RecallMonitor
from service.settings import Settings

DEFAULT_MODEL = "builtin"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route or a command may use. Build it with `open_services`, end it with `close`."""

    settings: Settings
    collection: Collection
    encoder: Encoder
    axes: AxisStore
    engine: Engine
    limits: Limits
    thumbnails: ThumbnailStore
    originals: OriginalStore
    fetcher: UrlFetcher
    recall: RecallLog
    monitor: RecallMonitor

    @property
    def threads(self) -> int:
        return thread_count(self.settings)

    def ingest(self, *, sync: bool = False) -> Ingest:
        """One run; add callbacks with `dataclasses.replace`."""
        return Ingest(
            self.collection, self.encoder, self.thumbnails, self.limits, threads=self.threads, sync=sync
        )

    def close(self) -> None:
        self.monitor.close()
        self.fetcher.close()
        self.collection.close()


def thread_count(settings: Settings) -> int:
    """The cores that this process may use, not those that the machine has."""
    return settings.threads or len(os.sched_getaffinity(0))


def open_services(settings: Settings, *, create: bool) -> Services:
    """Open the data directory; with `create`, make what is missing.

    Raises:
        NotFoundError: Nothing has been indexed there and `create` is False.
        ModelMismatchError: `settings.model` is not the model that the collection was made with.
    """
    name = settings.model or _model_of(settings) or DEFAULT_MODEL
    encoder = load_encoder(name, device=settings.device, threads=thread_count(settings))
    if not create and _model_of(settings) is None:
        raise NotFoundError(
            f"nothing has been indexed in {settings.data_dir} yet: run `kallos index FOLDER` first"
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    collection = Collection.open(
        settings.data_dir,
        settings.collection,
        model_id=encoder.model_id,
        dim=encoder.dim,
        gpu=None if settings.device == "cpu" else Gpu.find(),
    )
    axes = AxisStore(collection.database, settings.collection)
    ensure_default_axes(axes, encoder)
    _remember_model(settings, name)
    recall = RecallLog(collection.database, settings.collection)
    monitor = RecallMonitor(recall, settings.recall_sample_share)
    limits = Limits.from_memory(workers=thread_count(settings))
    return Services(
        settings=settings,
        collection=collection,
        encoder=encoder,
        axes=axes,
        engine=Engine(collection, encoder, axes, limits, monitor),
        recall=recall,
        monitor=monitor,
        limits=limits,
        thumbnails=ThumbnailStore(settings.data_dir),
        originals=OriginalStore(settings.data_dir),
        fetcher=UrlFetcher(
            limits, timeout_s=settings.url_timeout_s, allow_private=settings.allow_private_urls
        ),
    )


def _model_file(settings: Settings) -> Path:
    return settings.data_dir / settings.collection / "model"


def _model_of(settings: Settings) -> str | None:
    """How the collection's encoder was named when it was made: what `load_encoder` needs to find it again."""
    try:
        return _model_file(settings).read_text().strip() or None
    except FileNotFoundError:
        return None


def _remember_model(settings: Settings, name: str) -> None:
    path = _model_file(settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name + "\n")
