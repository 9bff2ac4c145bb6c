"""What people wanted: words that nothing fitted, hits that they opened, generated pictures that they kept.

Words, pictures and times; never who it was.
"""

import time
from dataclasses import dataclass
from typing import Literal, get_args

from indexer.errors import StoreError
from indexer.tables.database import Database
from indexer.types import ImageId

KEPT = 100_000  # rows of all collections together; the oldest go
MOST_CHARACTERS = 2_000  # of words that are kept: more is no prompt

Kind = Literal["miss", "click", "promotion"]
KINDS: tuple[Kind, ...] = get_args(Kind)

INSERT = """
    INSERT INTO wanted (collection, kind, words, image, generation, probability, at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
PRUNE = "DELETE FROM wanted WHERE number <= (SELECT max(number) FROM wanted) - ?"
ALL = """
    SELECT kind, words, image, generation, probability, at FROM wanted WHERE collection = ? ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class Interaction:
    """`image_id` was opened, or is what the generation `generation` became; both None for a miss.

    `probability` is that of a match, where it was known.
    """

    kind: Kind
    words: str
    image_id: ImageId | None = None
    generation: str | None = None
    probability: float | None = None
    at: float = 0.0  # given by the log


class InteractionLog:
    """Of one collection. Words that are empty, longer than a prompt or not text are passed over."""

    def __init__(self, database: Database, collection: str) -> None:
        self._database = database
        self._collection = collection

    def add(self, one: Interaction, *, kept: int = KEPT) -> None:
        words = " ".join(one.words.split())
        if not words or len(words) > MOST_CHARACTERS or not _is_text(words):
            return
        row = (self._collection, one.kind, words, one.image_id, one.generation, one.probability, time.time())
        with self._database.write() as connection:
            connection.execute(INSERT, row)
            connection.execute(PRUNE, (kept,))

    def all(self) -> list[Interaction]:
        """The oldest first."""
        with self._database.read() as connection:
            return [_wanted(row) for row in connection.execute(ALL, (self._collection,))]


def _is_text(words: str) -> bool:
    """Lone surrogates cannot be stored; a NUL would end the words in other programs."""
    return "\0" not in words and not any("\ud800" <= letter <= "\udfff" for letter in words)


def _wanted(row: tuple[object, ...]) -> Interaction:
    kind, words, image, generation, probability, at = row
    return Interaction(
        kind=_kind(str(kind)),
        words=str(words),
        image_id=None if image is None else ImageId(int(str(image))),
        generation=None if generation is None else str(generation),
        probability=None if probability is None else float(str(probability)),
        at=float(str(at)),
    )


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if kind == text:
            return kind
    raise StoreError(f"kind {text!r} of what people wanted is not known: expected {', '.join(KINDS)}")
