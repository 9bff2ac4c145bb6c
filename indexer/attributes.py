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


SATURATION = 1.2  # k1 of BM25: how soon more occurrences of a word stop counting
TOGETHER = 1.5  # 1 would add words up; see docs/words.md for what was tried


@dataclass(frozen=True, slots=True)
class WordTerm:
    """A word of a query: the tokens it is looked for as, how much it tells pictures apart (its inverse
    document frequency), and what of that a match counts.
    """

    forms: tuple[str, ...]
    idf: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Words:
    """How well a picture's words match a query's, in (0, 1): no value where none of them does.

        (Σ_t share_t · idf_t · n_t / (n_t + SATURATION) / Σ_t idf_t) ** TOGETHER

    n_t adds up the occurrences of the forms of word t in the picture, each times the weight of the field
    it stands in (`indexer.words.WEIGHTS`). This is BM25F (Robertson, Zaragoza and
    Taylor 2004) without its length: captions and names are short. It depends on nothing but the picture.
    The power is our own: many of the words in one picture count more than each of them alone.
    """

    terms: tuple[WordTerm, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """1 for a picture with these tokens one after another in a field of its words; others have no value."""

    tokens: tuple[str, ...]


Attribute = Linear | Stored | Computed | Words | Phrase


@dataclass(frozen=True, slots=True)
class Term:
    """`scale · (value - offset)` of an attribute, in a sum."""

    attribute: Attribute
    scale: float = 1.0
    offset: float = 0.0
