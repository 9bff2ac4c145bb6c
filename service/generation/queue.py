"""Requests for pictures become jobs: refused, found again, or queued."""

from indexer.tables.jobs import IdempotencyKey, Job
from service.generation.image_service import ImageGenerationService
from service.generation.spec import GenerationSpec
from service.generation.work import KIND
from service.jobs import JobRequest, JobRunner


class GenerationQueue:
    def __init__(self, image_service: ImageGenerationService, jobs: JobRunner) -> None:
        self._image_service = image_service
        self._jobs = jobs

    def submit(
        self, spec: GenerationSpec, *, client: str, key: str | None = None, subject: str | None = None
    ) -> Job:
        """A job that makes `spec`. Its params say the seed, also when it was drawn.

        Args:
            spec: What to make.
            client: The client that asks: its pictures of this hour are counted.
            key: An Idempotency-Key: with the same spec it finds the job that it has started before.
            subject: What `JobRunner.about` finds the job by. One that waits or runs already takes its place.

        Raises:
            PromptRefusedError: This server does not make that.
            LimitError: The queue is full, or the client has had its share.
            ReusedKeyError: `key` came with another spec.
        """
        self._image_service.check(spec)
        once = None if key is None else IdempotencyKey.of(client, key, {KIND: spec.to_json()})
        request, params = JobRequest(client, spec.count, subject, once), spec.seeded().to_json()
        if subject is None:
            return self._jobs.submit(KIND, params, request)
        return self._jobs.submit_once(KIND, params, request, unless="subject")
