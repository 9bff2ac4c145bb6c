"""The value of an attribute for every row of a collection, kept while it is asked for.

What a row holds never changes, so when a collection grows only the new rows are computed.

Dimension key   N rows
"""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.rows import Rows, Scored
from indexer.attributes import Computed, Linear, Term

MOST_BYTES = 256 << 20  # of all values that are kept; 8 bytes a picture and attribute
BLOCK = 4096  # pictures at a time; 16 MB of a layer that is 1024 wide
MOST_ORDERS = 64
PLACES = 4096  # of an order that are remembered; a scan finds them as fast as it finds ten


@dataclass(frozen=True, slots=True)
class Sorted:
    """Values of live rows that have one, rising, and the rows."""

    value_N: Float[ndarray, " n"]
    row_N: Int64[ndarray, " n"]

    @classmethod
    def of(cls, value_N: Float[ndarray, " n"], allow: Bitmap) -> "Sorted":
        """`value_N` has a number for every row, NaN for one without; equal values by rising row."""
        row_N = allow.rows()
        row_N = row_N[~np.isnan(value_N[row_N])]
        row_N = row_N[np.argsort(value_N[row_N], kind="stable")]
        return cls(value_N[row_N], row_N)


def compute(attribute: Linear | Computed, rows: Rows, row_N: Int64[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The values of some rows."""
    if isinstance(attribute, Linear):
        return rows.project(attribute.direction_D, row_N)
    starts = range(0, len(row_N), BLOCK)
    blocks = (attribute.values_of(rows.take(row_N[at : at + BLOCK])) for at in starts)
    return np.concatenate([np.empty(0), *blocks])


class AttributeValues:
    """Attributes of the rows of each file set; those that were asked for last are kept within MOST_BYTES."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int], Float[ndarray, " n"]] = OrderedDict()

    def of(self, attribute: Linear | Computed, rows: Rows, epoch: int) -> Float[ndarray, " n"]:
        """A value for each of `rows`, which are the first of file set `epoch`."""
        if attribute.key is None:
            return compute(attribute, rows, np.arange(len(rows)))
        key = (attribute.key, epoch)
        with self._lock:
            known_N = self._kept.get(key, np.empty(0, np.float32))
        if len(known_N) < len(rows):
            fresh_N = compute(attribute, rows, np.arange(len(known_N), len(rows)))
            known_N = np.concatenate([known_N, fresh_N])
        with self._lock:
            if len(known_N) >= len(self._kept.get(key, ())):
                self._kept[key] = known_N
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(value_N.nbytes for value_N in self._kept.values()) > MOST_BYTES:
                self._kept.popitem(last=False)
        return known_N[: len(rows)]  # a snapshot may be older than what is kept


@dataclass(frozen=True, slots=True)
class _Order:
    state: tuple[int, ...]
    ordered: Scored


class FirstPlaces:
    """The first PLACES of orders of the whole collection: asked for again, they cost no scan."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[object, ...], _Order] = OrderedDict()

    def find(self, key: tuple[object, ...], state: tuple[int, ...]) -> Scored | None:
        """What was kept for this state of the collection."""
        with self._lock:
            order = self._kept.get(key)
            if order is None or order.state != state:
                return None
            self._kept.move_to_end(key)
            return order.ordered

    def keep(self, key: tuple[object, ...], state: tuple[int, ...], ordered: Scored) -> None:
        with self._lock:
            self._kept[key] = _Order(state, ordered)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_ORDERS:
                self._kept.popitem(last=False)


def direction_of(terms: "list[tuple[Term, Linear]]", dim: int) -> tuple[Float32[ndarray, " d"], np.float32]:
    """One direction for linear terms, and what every score along it has too much."""
    direction_D = np.zeros(dim, np.float32)
    for term, linear in terms:
        direction_D += np.float32(term.scale) * linear.direction_D
    return direction_D, np.float32(sum(term.scale * term.offset for term, _ in terms))
