"""Settings → a working Kallos: the only place where parts are chosen.

Each command opens what it uses, and nothing else: a collection alone, with its encoder and axes, what
searches it, what takes pictures in, what draws. A server opens all of it; there a part that a setting makes
unusable says so when it is asked for, and the others work. What was opened is closed when its block ends.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar

from indexer.ann.gpu import Gpu
from indexer.blobs.deployed import DeployedStore
from indexer.blobs.originals import OriginalStore
from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.collection.made_with import MadeWith, find_made_with
from indexer.disk.files import writing
from indexer.encoders.known_models import BUILTIN, name_within
from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError, KallosError, NotFoundError, UnknownModelError
from indexer.imaging.decode import Limits
from indexer.imaging.measurer import Measurer, Scorer
from indexer.protocols import Encoder
from indexer.sources.fetch import UrlFetcher
from indexer.tables.axes import AxisStore
from indexer.tables.generated import GenerationStore
from indexer.tables.interactions import InteractionLog
from indexer.tables.recall_log import RecallLog
from rerank.axes.defaults import ensure_default_axes
from rerank.axes.statistics import MomentsCache
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
from service.generation.image_service import ImageGenerationService
from service.generation.in_service import InServiceGenerator
from service.generation.option_names import with_settings
from service.intake import Intake
from service.pictures import PictureFiles
from service.settings import Settings

LOG = logging.getLogger("kallos")
DEFAULT_MODEL = BUILTIN
NO_MODEL = "there is no language model: see KALLOS_LLM_MODEL"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Library:
    """A collection, and what understands it."""

    collection: Collection
    encoder: Encoder
    axes: AxisStore


@dataclass(frozen=True, slots=True)
class Search:
    """What answers searches, and what shows the hits."""

    engine: Engine
    pictures: PictureFiles
    rephraser: Rephraser


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may use."""

    settings: Settings
    collection: Collection
    encoder: Encoder
    axes: AxisStore
    search: Search
    pictures: PictureFiles
    intake: Intake
    image_service: ImageGenerationService
    feedback: Feedback

    @property
    def engine(self) -> Engine:
        return self.search.engine


def thread_count(settings: Settings) -> int:
    """The cores that this process may use, not those that the machine has."""
    return settings.threads or len(os.sched_getaffinity(0))


@contextmanager
def open_collection(settings: Settings) -> Iterator[Collection]:
    """What is stored, without its encoder. Raises NotFoundError: nothing is, and then nothing is made."""
    made = _found(settings)
    with closing(_collection(settings, made.model_id, made.dim, made.model)) as collection:
        yield collection


@contextmanager
def open_library(settings: Settings, *, create: bool = False) -> Iterator[Library]:
    """A collection with its encoder and its axes; with `create`, make what is missing.

    Raises:
        NotFoundError: Nothing has been indexed there and `create` is False.
        ModelMismatchError: `settings.model` is not the model that the collection was made with.
        UnknownModelError: There is no such model, or nothing says which it was.
    """
    made = find_made_with(settings.data_dir, settings.collection) if create else _found(settings)
    name = _model_name(settings, made)
    encoder = load_encoder(name, device=settings.device, threads=thread_count(settings))
    if made is not None and made.model is None and made.model_id != encoder.model_id:
        raise UnknownModelError(
            f"collection {settings.collection!r} holds vectors of {made.model_id}, and nothing says what "
            "loads that model: name it once, such as KALLOS_MODEL=open_clip:MODEL/PRETRAINED"
        )
    if create:
        with writing(settings.data_dir):
            settings.data_dir.mkdir(parents=True, exist_ok=True)
    with closing(_collection(settings, encoder.model_id, encoder.dim, name)) as collection:
        axes = AxisStore(collection.database, settings.collection)
        ensure_default_axes(axes, encoder)
        yield Library(collection, encoder, axes)


@contextmanager
def open_pictures(settings: Settings) -> Iterator[PictureFiles]:
    limits = Limits.from_memory(workers=thread_count(settings))
    fetcher = UrlFetcher(limits, timeout_s=settings.url_timeout_s, allow_private=settings.allow_private_urls)
    with closing(fetcher):
        yield PictureFiles(
            limits, ThumbnailStore(settings.data_dir), OriginalStore(settings.data_dir), fetcher
        )


@contextmanager
def open_search(settings: Settings, *, rephrases: bool) -> Iterator[Search]:
    """What one question needs; a language model only where it `rephrases`.

    Raises what `open_library` raises, and then what `open_rephraser` raises.
    """
    with ExitStack() as stack:
        library = stack.enter_context(open_library(settings))
        pictures = stack.enter_context(open_pictures(settings))
        rephraser = (
            open_rephraser(settings, library.encoder)
            if rephrases
            else Rephraser(library.encoder, None, no_model=NO_MODEL)
        )
        stack.enter_context(closing(rephraser))
        yield stack.enter_context(_search(settings, library, pictures, rephraser, learns=False))


def open_measurer(settings: Settings) -> Measurer:
    """Raises InvalidInputError: KALLOS_SCORER leads nowhere."""
    return Measurer(_scorer(settings))


def open_intake(settings: Settings, library: Library, pictures: PictureFiles) -> Intake:
    """Raises what `open_measurer` raises."""
    measurer = open_measurer(settings)
    return Intake(library.collection, library.encoder, pictures, measurer, thread_count(settings))


def open_image_service(
    settings: Settings, collection: Collection, generator: Generator | None = None
) -> ImageGenerationService:
    """What draws; `generator` takes the place of that of the settings.

    Raises InvalidInputError: a blocklist or a classifier leads nowhere; and what `open_generator` raises.
    """
    return ImageGenerationService(
        generator or open_generator(settings),
        GenerationStore(collection.database, settings.collection),
        OriginalStore(settings.data_dir),
        blocklist=_blocklist(settings),
        classifier=_classifier(settings),
    )


def open_archive(
    settings: Settings, collection: Collection, problem: str | None = None
) -> ImageGenerationService:
    """The pictures that were made, without anything that makes more; `problem` says why."""
    store = GenerationStore(collection.database, settings.collection)
    return ImageGenerationService(None, store, OriginalStore(settings.data_dir), problem=problem)


@contextmanager
def open_server(settings: Settings, *, generator: Generator | None = None) -> Iterator[Services]:
    """All of it, made where it is missing. `generator` takes the place of that of the settings.

    What draws, measures or rephrases may fail to open: it is logged, and said where it is asked for.

    Raises what `open_library` raises.
    """
    with ExitStack() as stack:
        library = stack.enter_context(open_library(settings, create=True))
        collection, encoder = library.collection, library.encoder
        pictures = stack.enter_context(open_pictures(settings))
        rephraser = _or_problem(
            "no query is rephrased",
            lambda: open_rephraser(settings, encoder),
            lambda problem: Rephraser(encoder, None, no_model=problem),
        )
        stack.enter_context(closing(rephraser))
        search = stack.enter_context(_search(settings, library, pictures, rephraser, learns=True))
        log = InteractionLog(collection.database, settings.collection) if settings.log_queries else None
        yield Services(
            settings=settings,
            collection=collection,
            encoder=encoder,
            axes=library.axes,
            search=search,
            pictures=pictures,
            intake=_or_problem(
                "no picture can be indexed",
                lambda: open_intake(settings, library, pictures),
                lambda problem: Intake(collection, encoder, pictures, None, thread_count(settings), problem),
            ),
            image_service=_or_problem(
                "no picture can be made",
                lambda: open_image_service(settings, collection, generator),
                lambda problem: open_archive(settings, collection, problem),
            ),
            feedback=Feedback(log),
        )


@contextmanager
def _search(
    settings: Settings, library: Library, pictures: PictureFiles, rephraser: Rephraser, *, learns: bool
) -> Iterator[Search]:
    """Only what `learns` measures, while it answers, how probable matches are."""
    collection, encoder, moments = library.collection, library.encoder, MomentsCache()
    with ExitStack() as stack:
        matches = MatchCache(encoder, moments, collection.folder / "match.safetensors", learns=learns)
        stack.enter_context(closing(matches))
        recall = RecallLog(collection.database, settings.collection)
        monitor = stack.enter_context(closing(RecallMonitor(recall, settings.recall_sample_share)))
        engine = Engine(
            collection,
            encoder,
            library.axes,
            pictures.limits,
            rephraser=rephraser,
            moments=moments,
            matches=matches,
            monitor=monitor,
        )
        yield Search(engine, pictures, rephraser)


def _or_problem(what: str, open_it: Callable[[], T], instead: Callable[[str], T]) -> T:
    """A part that settings may make unusable: then what `instead` makes of the reason."""
    try:
        return open_it()
    except KallosError as error:
        LOG.warning("%s: %s", what, error)
        return instead(str(error))


def _model_name(settings: Settings, made: MadeWith | None) -> str:
    if made is None:
        return settings.model or DEFAULT_MODEL
    return name_within(settings.model or made.model or DEFAULT_MODEL, made.model_id)


def _found(settings: Settings) -> MadeWith:
    made = find_made_with(settings.data_dir, settings.collection)
    if made is None:
        raise NotFoundError(
            f"nothing has been indexed in {settings.data_dir} yet: run `kallos index FOLDER` first"
        )
    return made


def _collection(settings: Settings, model_id: str, dim: int, model: str | None) -> Collection:
    return Collection.open(
        settings.data_dir,
        settings.collection,
        model_id=model_id,
        dim=dim,
        gpu=None if settings.device == "cpu" else Gpu.find(),
        model=model,
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
        no_model=NO_MODEL,
    )


def open_generator(settings: Settings) -> Generator:
    """What draws when nothing matches. Light: weights are read with the first picture.

    Raises what `load_generator` raises, and InvalidInputError for options that make no sense.
    """
    load = generator_loader(settings)
    if settings.generator is not None:
        try:
            return load(settings.generator, None)
        except KallosError as error:
            message = with_settings(f"KALLOS_GENERATOR is {settings.generator}: {error}")
            raise type(error)(message) from error
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
    if settings.generate_blocklist is None:
        return None
    try:
        return Blocklist.read(settings.generate_blocklist)
    except InvalidInputError as error:
        raise InvalidInputError(f"KALLOS_GENERATE_BLOCKLIST: {error}") from error


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
    except Exception as error:  # whatever a stranger's code raises while it is made
        raise InvalidInputError(f"{setting} is {name!r}: expected MODULE:NAME of a class: {error}") from error
