"""What people asked for, opened and kept, recorded where KALLOS_LOG_QUERIES says so."""

import logging

from indexer.errors import StoreError
from indexer.tables.generated import Generation
from indexer.tables.interactions import Interaction, InteractionLog
from indexer.types import ImageId
from rerank.match.model import Match

LOG = logging.getLogger("kallos.feedback")


class Feedback:
    """With `log` None nothing is recorded. A log that cannot be written never fails what it is about."""

    def __init__(self, log: InteractionLog | None) -> None:
        self._log = log

    @property
    def is_on(self) -> bool:
        return self._log is not None

    def missed(self, words: str, match: Match | str) -> None:
        probability = match.probability if isinstance(match, Match) else None
        self._add(Interaction("miss", words, probability=probability))

    def clicked(self, words: str, image_id: ImageId) -> None:
        self._add(Interaction("click", words, image_id))

    def promoted(self, made: Generation) -> None:
        self._add(Interaction("promotion", made.prompt, made.image_id, made.id))

    def _add(self, one: Interaction) -> None:
        if self._log is None:
            return
        try:
            self._log.add(one)
        except StoreError as error:
            LOG.warning("a %s was not recorded: %s", one.kind, error)
