"""Query and addition → one text that the encoder reads to its end. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

ENDS = (".", "!", "?", "…", ",", ";", ":")


@dataclass(frozen=True, slots=True)
class Addition:
    """What is put behind a query, in units that are never broken: words of a sentence, or keywords."""

    lead: str  # between the query and the first unit
    separator: str
    units: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.separator.join(self.units)


def repeat(query: str) -> Addition:
    """The control for length: the query again, word by word."""
    return Addition(" ", " ", tuple(query.split()))


def compose(query: str, addition: Addition, fits: Callable[[str], bool]) -> str | None:
    """The query as it was typed, and as many units as still fit; None when not even one does.

    Args:
        query: Always whole.
        addition: Cut from its end.
        fits: Whether the encoder reads a text to its end; if it does, it reads every shorter one.
    """
    composed: str | None = None
    text = query + (" " if query.rstrip().endswith(ENDS) else addition.lead)
    for n, unit in enumerate(addition.units):
        text += unit if n == 0 else addition.separator + unit
        if not fits(text):
            break
        composed = text
    return composed
