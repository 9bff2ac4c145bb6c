"""Weighted parts → one query vector.

Dimension key   P parts, D embedding
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.errors import InvalidQueryError
from indexer.imaging.decode import Limits, decode
from indexer.lru import Lru
from indexer.protocols import Encoder, Snapshot
from indexer.types import ImageId
from rerank.types import QUERY_TERM, REWRITE_TERM, IdPart, ImagePart, Part, TextPart, VectorPart

SMALLEST_LENGTH = 1e-6  # of a weighted sum of unit vectors: below it the parts have cancelled
LARGEST_WEIGHT = 1e3


@dataclass(frozen=True, slots=True)
class Question:
    """A query as vectors: `shares` add up to `direction_D`, which has length 1.

    Without parts there are no shares, and the direction is zero: axes alone decide.
    """

    direction_D: Float32[ndarray, " d"]
    shares: Mapping[str, Float32[ndarray, " d"]]

    @property
    def is_empty(self) -> bool:
        return not self.shares


class QueryEncoder:
    """Turns the parts of a query into unit vectors. Remembers recent texts: paging asks for them again."""

    def __init__(self, encoder: Encoder, limits: Limits, *, remembered: int = 512) -> None:
        self._encoder = encoder
        self._limits = limits
        self._texts: Lru[str, Float32[ndarray, " d"]] = Lru(remembered)

    @property
    def model_id(self) -> str:
        return self._encoder.model_id

    def ask(self, parts: Sequence[Part], snapshot: Snapshot, *, rewrite: str | None = None) -> Question:
        """The unit vector of `parts`: normalise(sum of weight · unit vector of the part).

        `rewrite` says in other words what the one text of `rephrasable(parts)` says: each counts half.

        Raises:
            InvalidQueryError: A weight is not finite or no part has one; a text is blank; a vector has the
                wrong length; or the parts cancel each other.
            UnreadableImageError, NotFoundError: As named.
        """
        if not parts:
            return Question(np.zeros(self._encoder.dim, np.float32), {})
        weight_P = np.array([_weight(part) for part in parts], np.float32)
        vector_PD = np.stack([self._unit(part, snapshot) for part in parts])
        shares = {QUERY_TERM: weight_P @ vector_PD}
        text = rephrasable(parts)
        if rewrite is not None and text is not None:
            half = np.float32(text.weight / 2)
            shares[QUERY_TERM] = shares[QUERY_TERM] - half * self._text(text.text)
            shares[REWRITE_TERM] = half * self._text(rewrite)
        whole_D = np.sum(list(shares.values()), axis=0)
        length = _length(whole_D, "the parts of the query cancel each other: nothing is left to look for")
        shares = {name: (share_D / length).astype(np.float32) for name, share_D in shares.items()}
        return Question((whole_D / length).astype(np.float32), shares)

    def _unit(self, part: Part, snapshot: Snapshot) -> Float32[ndarray, " d"]:
        match part:
            case TextPart():
                return self._text(part.text)
            case ImagePart():
                picture = decode(part.data, self._limits)
                return self._encoder.encode_images([picture.pixels])[0]
            case IdPart():
                vector_1D = snapshot.vectors([part.id])
                return unit(vector_1D[0], f"the stored vector of image {part.id} is zero")
            case VectorPart():
                return self._vector(part.vector_D)

    def _text(self, text: str) -> Float32[ndarray, " d"]:
        if not text.strip():
            raise InvalidQueryError("the query text is blank: expected words")
        return self._texts.get(text, lambda: self._encoder.encode_texts([text])[0])

    def _vector(self, vector_D: Float32[ndarray, " d"]) -> Float32[ndarray, " d"]:
        if vector_D.shape != (self._encoder.dim,):
            wanted = f"{self._encoder.dim}, as {self._encoder.model_id} makes them"
            raise InvalidQueryError(f"the query vector has {vector_D.size} numbers: expected {wanted}")
        if not np.isfinite(vector_D).all():
            raise InvalidQueryError("the query vector holds a number that is not finite")
        return unit(vector_D, "the query vector is zero: it points nowhere")


def named(parts: Sequence[Part]) -> tuple[ImageId, ...]:
    """The pictures that a query names: they are left out of its hits."""
    return tuple(part.id for part in parts if isinstance(part, IdPart))


def rephrasable(parts: Sequence[Part]) -> TextPart | None:
    """The part that a rewrite can stand for: the one text that is wished for; None where there are more."""
    wished = [part for part in parts if isinstance(part, TextPart) and part.weight > 0]
    return wished[0] if len(wished) == 1 else None


def rephrased(parts: Sequence[Part], rewrite: str) -> tuple[Part, ...]:
    """`parts` with `rewrite` in place of what it can stand for."""
    text = rephrasable(parts)
    return tuple(TextPart(rewrite, part.weight) if part is text else part for part in parts)


def unit(vector_D: Float32[ndarray, " d"], otherwise: str) -> Float32[ndarray, " d"]:
    """`vector_D` at length 1; InvalidQueryError(otherwise) when it has no direction."""
    return (vector_D / _length(vector_D, otherwise)).astype(np.float32)


def _length(vector_D: Float32[ndarray, " d"], otherwise: str) -> float:
    # In float64: the square of a large float32 overflows.
    length = float(np.linalg.norm(vector_D.astype(np.float64)))
    if not length > SMALLEST_LENGTH:
        raise InvalidQueryError(otherwise)
    return length


def _weight(part: Part) -> float:
    if not abs(part.weight) <= LARGEST_WEIGHT:  # also catches NaN
        raise InvalidQueryError(
            f"weight {part.weight} is out of range: expected -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"
        )
    if part.weight == 0:
        raise InvalidQueryError("a part of the query has weight 0: leave it out, or give it a weight")
    return part.weight
