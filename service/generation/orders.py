"""Wishes become jobs: refused, found again, or queued."""

from service.generation.studio import Studio
from service.generation.wish import Wish
from service.generation.work import KIND
from service.job_rules import Once
from service.jobs import Job, JobRunner, Order


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
            subject: What `JobRunner.about` finds the job by.

        Raises:
            PromptRefusedError: This server does not make that.
            LimitError: The queue is full, or the client has had its share.
            ReusedKeyError: `key` came with another wish.
        """
        self._studio.check(wish)
        once = None if key is None else Once.of(client, key, {KIND: wish.to_json()})
        return self._jobs.submit(KIND, wish.seeded().to_json(), Order(client, wish.count, subject, once))
