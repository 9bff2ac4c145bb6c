"""What people wanted, recorded where KALLOS_LOG_WISHES says so."""

import logging

from indexer.errors import StoreError
from indexer.tables.generated import Generation
from indexer.tables.interactions import Wanted, WantedLog
from indexer.types import ImageId
from rerank.match.model import Match

LOG = logging.getLogger("kallos.feedback")


class Feedback:
    """With `log` None nothing is recorded. A log that cannot be written never fails what it is about."""

    def __init__(self, log: WantedLog | None) -> None:
        self._log = log

    @property
    def is_on(self) -> bool:
        return self._log is not None

    def missed(self, words: str, match: Match | str) -> None:
        probability = match.probability if isinstance(match, Match) else None
        self._add(Wanted("miss", words, probability=probability))

    def clicked(self, words: str, image_id: ImageId) -> None:
        self._add(Wanted("click", words, image_id))

    def promoted(self, made: Generation) -> None:
        self._add(Wanted("promotion", made.prompt, made.image_id, made.id))

    def _add(self, one: Wanted) -> None:
        if self._log is None:
            return
        try:
            self._log.add(one)
        except StoreError as error:
            LOG.warning("a %s was not recorded: %s", one.kind, error)
