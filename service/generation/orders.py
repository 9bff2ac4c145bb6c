"""Wishes become jobs: refused, found again, or queued."""

from indexer.tables.jobs import IdempotencyKey, Job
from service.generation.studio import Studio
from service.generation.wish import Wish
from service.generation.work import KIND
from service.jobs import JobRequest, JobRunner


class Orders:
    def __init__(self, studio: Studio, jobs: JobRunner) -> None:
        self._studio = studio
        self._jobs = jobs

    def submit(self, wish: Wish, *, client: str, key: str | None = None, subject: str | None = None) -> Job:
        """A job that grants `wish`. Its params say the seed, also when it was drawn.

        Args:
            wish: What to make.
            client: Who asks: its pictures of this hour are counted.
            key: An Idempotency-Key: with the same wish it finds the job that it has started before.
            subject: What `JobRunner.about` finds the job by. One that waits or runs already takes its place.

        Raises:
            PromptRefusedError: This server does not make that.
            LimitError: The queue is full, or the client has had its share.
            ReusedKeyError: `key` came with another wish.
        """
        self._studio.check(wish)
        once = None if key is None else IdempotencyKey.of(client, key, {KIND: wish.to_json()})
        request, params = JobRequest(client, wish.count, subject, once), wish.seeded().to_json()
        if subject is None:
            return self._jobs.submit(KIND, params, request)
        return self._jobs.submit_once(KIND, params, request, unless="subject")
