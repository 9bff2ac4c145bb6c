"""Generate on a miss: one picture for each query text, and nothing that burns the machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexer.blobs.originals import OriginalStore
from indexer.collection.collection import Collection
from indexer.protocols import Version
from indexer.tables.generated import GenerationStore
from indexer.tables.jobs import Job
from indexer.types import ImageId
from rerank.generate.safety import Blocklist
from rerank.match.model import Match
from rerank.types import Answer, Hit, IdPart, Part, SearchQuery, TextPart
from service.generation.image_service import ImageGenerationService
from service.generation.on_miss import FallbackGeneration, GenerateOnMiss, unmet
from service.generation.queue import GenerationQueue
from service.generation.work import KIND, GenerateWork
from service.job_rules import QueueLimits
from service.jobs import JobRunner
from tests.support.painter import Painter
from tests.support.pictures import new_image, unit_vectors
from tests.support.processes import until

PAUSE_S = 600.0


@dataclass
class Setting:
    collection: Collection
    painter: Painter
    image_service: ImageGenerationService
    jobs: JobRunner
    on_miss: GenerateOnMiss

    def ask(self, text: str, client: str = "ann") -> FallbackGeneration:
        return self.on_miss.ask(text, client=client)

    def ended(self, miss: FallbackGeneration) -> Job:
        assert miss.job is not None
        job_id = miss.job.id
        return until(lambda: self.jobs.get(job_id), lambda job: job.finished_at is not None)

    def made(self, text: str) -> FallbackGeneration:
        self.ended(self.ask(text))
        return self.ask(text)

    def later(self, seconds: float) -> None:
        with self.collection.database.write() as connection:
            connection.execute(
                "UPDATE job SET queued_at = queued_at - ?1, finished_at = finished_at - ?1", (seconds,)
            )


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    collection = Collection.open(tmp_path, model_id="m", dim=8)
    painter = Painter()
    store = GenerationStore(collection.database, collection.name)
    image_service = ImageGenerationService(
        painter, store, OriginalStore(tmp_path), blocklist=Blocklist(["saucer"])
    )
    rules = {KIND: QueueLimits(most_waiting=2, per_hour=5)}
    jobs = JobRunner(collection.database, {KIND: GenerateWork(image_service)}, rules)
    on_miss = GenerateOnMiss(GenerationQueue(image_service, jobs), jobs, store, pause_s=PAUSE_S)
    jobs.start()
    yield Setting(collection, painter, image_service, jobs, on_miss)
    jobs.close()
    collection.close()


def test_the_first_time_starts_and_the_second_is_answered_from_what_is_kept(setting: Setting) -> None:
    first = setting.ask("A  purple Cow")
    assert first.outcome == "started"
    job = setting.ended(first)
    kept = setting.ask("a purple cow ", client="bob")
    assert kept.outcome == "kept"
    assert kept.generation is not None
    assert (job.result or {})["generations"] == [kept.generation.id]
    assert kept.generation.prompt == "A purple Cow"
    assert len(setting.painter.asked) == 1


def test_what_is_being_made_is_not_made_twice(setting: Setting) -> None:
    setting.painter.pause_s = 0.05
    first, second = setting.ask("a cow"), setting.ask("a cow")
    assert (first.outcome, second.outcome) == ("started", "running")
    assert first.job is not None
    assert second.job is not None
    assert first.job.id == second.job.id


def test_words_that_failed_rest_for_a_while(setting: Setting) -> None:
    failed = setting.made("too large")
    assert (failed.outcome, failed.code) == ("refused", "out_of_memory")
    assert failed.reason
    assert len(setting.painter.asked) == 1
    setting.later(PAUSE_S - 1)
    assert setting.ask("too large").outcome == "refused"
    setting.later(1)
    assert setting.ask("too large").outcome == "started"


def test_cancelled_words_rest_too(setting: Setting) -> None:
    setting.painter.pause_s = 0.05
    asked = setting.ask("a cow")
    assert asked.job is not None
    setting.jobs.cancel(asked.job.id)
    setting.ended(asked)
    again = setting.ask("a cow")
    assert (again.outcome, again.code) == ("refused", "cancelled")


def test_a_deleted_picture_is_made_anew(setting: Setting) -> None:
    kept = setting.made("a cow").generation
    assert kept is not None
    setting.image_service.delete(kept.id)
    assert setting.ask("a cow").outcome == "started"


def test_many_different_words_end_at_the_budget(setting: Setting) -> None:
    outcomes = []
    for number in range(8):
        miss = setting.ask(f"nonsense {number}")
        if miss.outcome == "started":
            setting.ended(miss)
        outcomes.append(miss.code or miss.outcome)
    assert outcomes == ["started"] * 5 + ["budget_spent"] * 3
    assert setting.ask("nonsense 1").outcome == "kept"  # costs nothing
    assert setting.ask("another", client="bob").outcome == "started"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("flying saucer", "prompt_refused"),
        ("x" * 10_000, "invalid_input"),
        ("a\0b", "invalid_input"),
        ("  ", "invalid_input"),
        ("\ud800", "invalid_input"),
    ],
)
def test_words_that_cannot_be_made_are_refused_not_raised(setting: Setting, text: str, code: str) -> None:
    miss = setting.ask(text)
    assert (miss.outcome, miss.code, miss.job) == ("refused", code, None)
    assert setting.painter.asked == []


@pytest.mark.parametrize(
    ("match", "has_hits", "parts", "asked"),
    [
        (Match(0.05, 0.6, "captions"), True, (TextPart("a purple cow"),), True),
        (Match(0.2, 0.6, "captions"), True, (TextPart("a purple cow"),), False),
        ("it is being learned", True, (TextPart("a purple cow"),), False),
        ("fewer than 10 pictures may come", False, (TextPart("a purple cow"),), True),
        (Match(0.05, 0.6, "captions"), True, (TextPart("a cow"), TextPart("a hat")), False),
        (Match(0.05, 0.6, "captions"), True, (IdPart(ImageId(1)),), False),
    ],
)
def test_only_words_that_nothing_fits_are_made(
    setting: Setting, match: Match | str, has_hits: bool, parts: tuple[Part, ...], asked: bool
) -> None:
    (image_id,) = setting.collection.add([new_image("a")], unit_vectors(1, 8))
    hit = Hit(setting.collection.snapshot().rows([image_id])[0], 0.5, {"query": 0.5})
    answer = Answer([hit] if has_hits else [], None, "exact", 1, Version(1), 1, "m", {}, match=match)
    words = unmet(SearchQuery(parts), answer, threshold=0.1)
    assert words == ("a purple cow" if asked else None)
