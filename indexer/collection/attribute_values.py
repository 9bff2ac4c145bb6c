"""The value of an attribute for every row of a collection, kept while it is asked for.

What a row holds never changes, so when a collection grows only the new rows are computed.

Dimension key   N rows
"""

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from indexer.ann.rows import Rows
from indexer.attributes import Computed, Linear
from indexer.lru import Lru
from indexer.protocols import Statistics

MOST_BYTES = 256 << 20  # of all values that are kept; 8 bytes a picture and attribute
LARGE = 1e150  # the squares of larger numbers are beyond float64
BLOCK = 4096  # pictures at a time; 16 MB of a layer that is 1024 wide


def compute(attribute: Linear | Computed, rows: Rows, row_N: Int64[ndarray, " n"]) -> Float[ndarray, " n"]:
    """The values of some rows."""
    if isinstance(attribute, Linear):
        return rows.project(attribute.direction_D, row_N)
    starts = range(0, len(row_N), BLOCK)
    blocks = (attribute.values_of(rows.take(row_N[at : at + BLOCK])) for at in starts)
    return np.concatenate([np.empty(0), *blocks])


def statistics_of(value_N: Float64[ndarray, " n"], bars: int) -> Statistics:
    """Of any numbers, however large they are and however close together; none is NaN."""
    if len(value_N) == 0:
        return Statistics(0, 0.0, 0.0, np.zeros(0, np.int64), np.zeros(0))
    low, high = float(value_N.min()), float(value_N.max())
    first, last = (low, high) if low < high else (low - 0.5, high + 0.5)
    share_B = np.arange(bars + 1) / bars
    # Not first + share * (last - first), which may be beyond float64. Rounding must not turn bars around.
    edges_B = np.clip(np.maximum.accumulate((1 - share_B) * first + share_B * last), first, last)
    bar_N = np.searchsorted(edges_B[1:-1], value_N, "right")
    counts_B = np.bincount(bar_N, minlength=bars).astype(np.int64)
    largest = max(-low, high)
    unit = largest if largest > LARGE else 1.0
    scaled_N = value_N / unit
    return Statistics(
        len(value_N), unit * float(scaled_N.mean()), unit * float(scaled_N.std()), counts_B, edges_B
    )


class AttributeValues:
    """Attributes of the rows of each file set; those that were asked for last are kept within MOST_BYTES."""

    def __init__(self) -> None:
        self._kept: Lru[tuple[str, int], Float[ndarray, " n"]] = Lru(
            MOST_BYTES, lambda value_N: value_N.nbytes
        )

    def of(self, attribute: Linear | Computed, rows: Rows, file_set: int) -> Float[ndarray, " n"]:
        """A value for each of `rows`, which are the first of that `file_set`."""
        if attribute.key is None:
            return compute(attribute, rows, np.arange(len(rows)))
        key = (attribute.key, file_set)
        value_N = self._kept.find(key)
        if value_N is None:
            value_N = np.empty(0, np.float32)
        if len(value_N) < len(rows):
            fresh_N = compute(attribute, rows, np.arange(len(value_N), len(rows)))
            value_N = np.concatenate([value_N, fresh_N])
            self._kept.keep(key, value_N)
        return value_N[: len(rows)]  # a snapshot may be older than what is kept
