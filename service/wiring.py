"""Settings → a working Kallos: the only place where parts are chosen."""

import os
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from indexer.ann.gpu import Gpu
from indexer.blobs.deployed import DeployedStore
from indexer.blobs.originals import OriginalStore
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError, NotFoundError
from indexer.imaging.decode import Limits
from indexer.imaging.measurer import Measurer, Scorer
from indexer.ingest.ingest import Ingest
from indexer.protocols import Encoder
from indexer.sources.fetch import UrlFetcher
from indexer.tables.axes import AxisStore
from indexer.tables.generated import GenerationStore
from indexer.tables.interactions import WantedLog
from indexer.tables.recall_log import RecallLog
from rerank.axes.defaults import ensure_default_axes
from rerank.axes.moments import MomentsCache
from rerank.engine import Engine
from rerank.generate.diffusers.options import GeneratorOptions, parse_adapters
from rerank.generate.registry import load_generator
from rerank.generate.request import Generator
from rerank.generate.safety import Blocklist, Classifier
from rerank.generate.tuned.deployed import Load
from rerank.match.cache import MatchCache
from rerank.monitor import RecallMonitor
from rerank.rephrase.cache import AnswerCache
from rerank.rephrase.chat import ChatModel
from rerank.rephrase.endpoint import EndpointModel
from rerank.rephrase.local import PREFIX as LOCAL
from rerank.rephrase.local import LocalModel
from rerank.rephrase.rephraser import Rephraser
from service.feedback import Feedback
from service.generation.in_service import InServiceGenerator
from service.generation.studio import Studio
from service.settings import Settings

DEFAULT_MODEL = "builtin"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route or a command may use. Build it with `open_services`, end it with `close`."""

    settings: Settings
    collection: Collection
    encoder: Encoder
    measurer: Measurer
    axes: AxisStore
    engine: Engine
    rephraser: Rephraser
    matches: MatchCache
    limits: Limits
    thumbnails: ThumbnailStore
    originals: OriginalStore
    studio: Studio
    fetcher: UrlFetcher
    recall: RecallLog
    monitor: RecallMonitor
    feedback: Feedback

    @property
    def threads(self) -> int:
        return thread_count(self.settings)

    def ingest(self, *, sync: bool = False) -> Ingest:
        """One run; add callbacks with `dataclasses.replace`."""
        return Ingest(
            self.collection,
            self.encoder,
            self.thumbnails,
            self.limits,
            threads=self.threads,
            measurer=self.measurer,
            sync=sync,
        )

    def close(self) -> None:
        self.monitor.close()
        self.rephraser.close()
        self.matches.close()
        self.fetcher.close()
        self.collection.close()


def thread_count(settings: Settings) -> int:
    """The cores that this process may use, not those that the machine has."""
    return settings.threads or len(os.sched_getaffinity(0))


def open_services(
    settings: Settings, *, create: bool, serving: bool = False, generator: Generator | None = None
) -> Services:
    """Open the data directory; with `create`, make what is missing. Only who is `serving` learns meanwhile.
    `generator` takes the place of the builtin one.

    Raises:
        NotFoundError: Nothing has been indexed there and `create` is False.
        ModelMismatchError: `settings.model` is not the model that the collection was made with.
    """
    blocklist, classifier = _blocklist(settings), _classifier(settings)
    measurer = Measurer(_scorer(settings))
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
    rephraser = open_rephraser(settings, encoder)
    moments = MomentsCache()
    matches = MatchCache(encoder, moments, collection.folder / "match.safetensors", learns=serving)
    limits = Limits.from_memory(workers=thread_count(settings))
    originals = OriginalStore(settings.data_dir)
    return Services(
        settings=settings,
        collection=collection,
        encoder=encoder,
        measurer=measurer,
        axes=axes,
        engine=Engine(
            collection,
            encoder,
            axes,
            limits,
            rephraser=rephraser,
            moments=moments,
            matches=matches,
            monitor=monitor,
        ),
        matches=matches,
        rephraser=rephraser,
        recall=recall,
        monitor=monitor,
        feedback=Feedback(
            WantedLog(collection.database, settings.collection) if settings.log_wishes else None
        ),
        limits=limits,
        thumbnails=ThumbnailStore(settings.data_dir),
        originals=originals,
        studio=Studio(
            generator or open_generator(settings),
            GenerationStore(collection.database, settings.collection),
            originals,
            blocklist=blocklist,
            classifier=classifier,
        ),
        fetcher=UrlFetcher(
            limits, timeout_s=settings.url_timeout_s, allow_private=settings.allow_private_urls
        ),
    )


def open_rephraser(settings: Settings, encoder: Encoder) -> Rephraser:
    """Without a language model in `settings` it says `not_configured`. Close it when done.

    Raises:
        InvalidInputError: The settings contradict each other, or cannot be used.
        UnavailableError: A local model needs something that is not installed.
    """
    return Rephraser(
        encoder,
        _chat_model(settings),
        cache=AnswerCache(settings.data_dir / "rewrites"),
        timeout_s=settings.llm_timeout_s,
    )


def open_generator(settings: Settings) -> Generator:
    """What draws when nothing matches. Light: weights are read with the first picture.

    Raises what `load_generator` raises, and InvalidInputError for options that make no sense.
    """
    load = generator_loader(settings)
    if settings.generator is not None:
        return load(settings.generator, None)
    generator = InServiceGenerator(DeployedStore(settings.data_dir), load)
    generator.try_loading()
    return generator


def generator_loader(settings: Settings) -> Load:
    """Makes generators with the options of `settings`. Raises InvalidInputError: they make no sense."""
    options = GeneratorOptions(
        device=settings.device,
        dtype=settings.generator_dtype,
        offload=settings.generator_offload,
        adapters=parse_adapters(settings.generator_adapters),
        scheduler=settings.generator_scheduler,
        steps=settings.generator_steps,
        guidance=settings.generator_guidance,
    )
    threads = thread_count(settings)
    return lambda name, tuned: load_generator(name, options=options, threads=threads, tuned=tuned)


def _chat_model(settings: Settings) -> ChatModel | None:
    name, url, key = settings.llm_model, settings.llm_url, settings.llm_api_key
    if name is None:
        if url is not None:
            raise InvalidInputError(f"KALLOS_LLM_URL is {url}, but KALLOS_LLM_MODEL does not say which model")
        return None
    if name.startswith(LOCAL):
        if url is not None:
            raise InvalidInputError(f"KALLOS_LLM_MODEL is {name}, which needs no KALLOS_LLM_URL: unset one")
        return LocalModel(name)
    if url is None:
        raise InvalidInputError(f"KALLOS_LLM_MODEL is {name}, but KALLOS_LLM_URL does not say where it runs")
    return EndpointModel(
        url,
        name,
        api_key=None if key is None else key.get_secret_value(),
        options=settings.llm_options,
        answer_format=settings.llm_answer_format,
    )


def _blocklist(settings: Settings) -> Blocklist | None:
    return None if settings.generate_blocklist is None else Blocklist.read(settings.generate_blocklist)


def _classifier(settings: Settings) -> Classifier | None:
    made: Classifier | None = _of_users("KALLOS_GENERATE_CLASSIFIER", settings.generate_classifier)
    return made


def _scorer(settings: Settings) -> Scorer | None:
    made: Scorer | None = _of_users("KALLOS_SCORER", settings.scorer)
    return made


def _of_users(setting: str, name: str | None) -> Any:  # noqa: ANN401  # whatever the user has put there
    """What the name leads to is called without arguments, class or function. None without a name."""
    try:
        return None if name is None else resolve_name(name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{setting} is {name!r}: expected MODULE:NAME of a class: {error}") from error


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
