"""Numbers that each picture has, and weighted sums of them: what pictures are ordered and filtered by.

Dimension key   N pictures, D embedding
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Float32
from numpy import ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """v·x. Attributes with one `key` are the same, so a store may keep their values; None: not worth it."""

    direction_D: Float32[ndarray, " d"]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The number in a field of the metadata, the first where there is a list of them."""

    field: str


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """What a function makes of the embedding. Attributes with one `key` are the same."""

    values_of: "Callable[[Float32[ndarray, 'n d']], Float[ndarray, ' n']]"
    key: str


Attribute = Linear | Stored | Computed


@dataclass(frozen=True, slots=True)
class Term:
    """`scale · (value - offset)` of an attribute, in a sum."""

    attribute: Attribute
    scale: float = 1.0
    offset: float = 0.0
