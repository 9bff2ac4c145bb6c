"""The pictures that an axis is taught with, as a person names them and as arrays.

Dimension key   N pictures, D embedding
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt64
from numpy import ndarray

from indexer.errors import InvalidAxisError
from indexer.protocols import Store
from indexer.tables.axes import content_key
from indexer.types import ImageRow, JSONValue

MOST_LABELS = 50_000
MOST_PAIRS = 10_000
MOST_SHOWN = 256  # examples that are kept readable with an axis; of more, the count and the hash


@dataclass(frozen=True, slots=True)
class Label:
    """How much of the attribute a picture has. No split tears a `group`, such as a person, apart."""

    id: int
    value: float
    group: str | None = None


@dataclass(frozen=True, slots=True)
class OrderedPair:
    """Picture `more` has more of the attribute than picture `less`."""

    more: int
    less: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """Stored pictures by rising id, without repetition."""

    rows: Sequence[ImageRow]
    vectors_ND: Float32[ndarray, "n d"]

    @classmethod
    def of(cls, ids: Sequence[int], collection: Store) -> "Pictures":
        """Look `ids` up. NotFoundError names the first that is not in the collection."""
        snapshot = collection.snapshot()
        known = sorted(set(ids))
        return cls(snapshot.rows(known), snapshot.vectors(known))

    def places(self, ids: Sequence[int]) -> ndarray:
        """Where `ids` stand in `rows`."""
        place = {int(row.id): n for n, row in enumerate(self.rows)}
        return np.array([place[i] for i in ids], np.int64)

    def content_keys(self) -> UInt64[ndarray, " n"]:
        return np.array(sorted({content_key(row.sha256) for row in self.rows}), np.uint64)


def distinct_labels(labels: Sequence[Label]) -> list[Label]:
    """By rising id, each picture once.

    Raises:
        InvalidAxisError: Too many, not finite, or one picture with two different labels.
    """
    if len(labels) > MOST_LABELS:
        raise InvalidAxisError(f"{len(labels)} labels: expected at most {MOST_LABELS}")
    found: dict[int, Label] = {}
    for label in labels:
        if not math.isfinite(label.value):
            raise InvalidAxisError(
                f"the label of image {label.id} is {label.value}: expected a finite number"
            )
        before = found.setdefault(label.id, label)
        if before.value != label.value:
            raise InvalidAxisError(
                f"image {label.id} has two labels, {before.value:g} and {label.value:g}: expected one"
            )
    return [found[i] for i in sorted(found)]


def checked_pairs(pairs: Sequence[OrderedPair]) -> list[OrderedPair]:
    """In one order, whatever order they came in. Repetitions count; so do cycles and contradictions.

    Raises:
        InvalidAxisError: Too many, or a picture paired with itself.
    """
    if len(pairs) > MOST_PAIRS:
        raise InvalidAxisError(f"{len(pairs)} pairs: expected at most {MOST_PAIRS}")
    for pair in pairs:
        if pair.more == pair.less:
            raise InvalidAxisError(f"image {pair.more} is paired with itself: expected two pictures")
    return sorted(pairs, key=lambda pair: (pair.more, pair.less))


def described(kind: str, examples: Sequence[list[JSONValue]]) -> Mapping[str, JSONValue]:
    """What an axis remembers of its examples: their number, a hash of all, and the first few themselves."""
    digest = hashlib.sha256(json.dumps(examples, separators=(",", ":")).encode()).hexdigest()
    return {"count": len(examples), "sha256": digest, kind: [*examples[:MOST_SHOWN]]}
