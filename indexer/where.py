"""Which pictures may come, in symbols: each store compiles them to what it can evaluate.

Every picture of a snapshot meets `EVERYTHING`. The conditions combine as sets do.
"""

from dataclasses import dataclass
from typing import Union

from indexer.attributes import Attribute
from indexer.filters.language import Filter
from indexer.types import ImageId


@dataclass(frozen=True, slots=True)
class Everything:
    """All pictures of the snapshot."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Pictures for which a condition on the metadata holds."""

    condition: Filter


@dataclass(frozen=True, slots=True)
class Ids:
    """These pictures, as far as the snapshot holds them."""

    ids: tuple[ImageId, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """Pictures whose value lies in [`low`, `high`), all from `low` on when `high` is None.

    A picture without a value is not among them.
    """

    attribute: Attribute
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class And:
    """Pictures that meet every part; without parts, all."""

    parts: tuple["Where", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Pictures that do not meet `part`."""

    part: "Where"


Where = Union[Everything, Matching, Ids, Band, And, Not]  # noqa: UP007 - a forward reference cannot be ORed
EVERYTHING = Everything()


def both(*parts: Where) -> Where:
    """Pictures that meet all of `parts`, in the simplest form."""
    flat = [
        inner
        for part in parts
        for inner in (part.parts if isinstance(part, And) else (part,))
        if not isinstance(inner, Everything)
    ]
    match flat:
        case []:
            return EVERYTHING
        case [only]:
            return only
        case _:
            return And(tuple(flat))
