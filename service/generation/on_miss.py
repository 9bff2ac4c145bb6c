"""When a search finds nothing: the picture made for these words before, or a job that makes it now."""

import time
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from indexer.errors import InvalidInputError, KallosError, LimitError, UnavailableError
from indexer.tables.generated import Generation, GenerationStore
from indexer.tables.jobs import Job
from rerank.generate.misses import subject_of
from rerank.match.model import Match
from rerank.query import rephrasable
from rerank.types import Answer, SearchQuery
from service.generation.queue import GenerationQueue
from service.generation.spec import GenerationSpec
from service.jobs import JobRunner


@dataclass(frozen=True, slots=True)
class FallbackGeneration:
    """`kept`: `generation` answers. `running`: `job` will, it was asked for before. `started`: `job` is new.

    `refused`: nothing is made, and `code` and `reason` say why: a full queue, a spent budget, words that are
    not wanted, the same words failed or were cancelled a short while ago, or this server makes no pictures.
    """

    outcome: Literal["kept", "running", "started", "refused"]
    generation: Generation | None = None
    job: Job | None = None
    code: str | None = None
    reason: str | None = None


class GenerateOnMiss:
    """One picture for each query text, however it is spelt, and however often it is asked for."""

    def __init__(
        self, queue: GenerationQueue, jobs: JobRunner, store: GenerationStore, *, pause_s: float
    ) -> None:
        self._queue = queue
        self._jobs = jobs
        self._store = store
        self._pause_s = pause_s
        self._asking = Lock()  # two equal searches at once: the second finds the first one's job

    def ask(self, text: str, *, client: str) -> FallbackGeneration:
        """Never raises because of what `text` is, or of a limit: the search itself has its answer."""
        subject = subject_of(self._store.collection, text)
        with self._asking:
            job = self._jobs.about(subject)
            known = None if job is None else self._known(job)
            return self._begin(" ".join(text.split()), subject, client) if known is None else known

    def _known(self, job: Job) -> FallbackGeneration | None:
        """What `job` answers; None when it is time for a new one."""
        if job.state in ("queued", "running"):
            return FallbackGeneration("running", job=job)
        if made := self._store.of_job(job.id):
            return FallbackGeneration("kept", generation=made[0], job=job)
        ended_at = job.finished_at or job.queued_at
        if job.state == "succeeded" or time.time() - ended_at >= self._pause_s:
            return None  # its picture was deleted, or the failure is long ago
        reason = job.error or "the same words were cancelled a short while ago"
        return FallbackGeneration("refused", job=job, code=job.code or job.state, reason=reason)

    def _begin(self, prompt: str, subject: str, client: str) -> FallbackGeneration:
        try:
            job = self._queue.submit(GenerationSpec(prompt), client=client, subject=subject)
        except (InvalidInputError, LimitError, UnavailableError) as refusal:
            return _refused(refusal)
        return FallbackGeneration("started", job=job)


def unmet(query: SearchQuery, answer: Answer, threshold: float) -> str | None:
    """The words that nothing in `answer` fits; None where something does, or where nobody knows.

    Nothing fits when there is no hit, or when the probability of a match is below `threshold`.
    """
    text = rephrasable(query.parts)
    unlikely = isinstance(answer.match, Match) and answer.match.probability < threshold
    if text is None or query.cursor is not None or (answer.hits and not unlikely):
        return None
    return text.text


def _refused(error: KallosError) -> FallbackGeneration:
    return FallbackGeneration("refused", code=error.code, reason=str(error))
