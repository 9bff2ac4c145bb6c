"""The value of an axis for every picture, kept while the collection stays as it is.

What a row holds never changes, so when a collection grows only the new rows are computed.

Dimension key   N rows of a view
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.collection.view import View
from indexer.tables.axes import Axis
from rerank.axes.values import values_at

Limits = tuple[float, float | None]
"""From and below which value; None: to the most there is."""

MOST_BYTES = 256 << 20  # of all axes that are kept; 8 bytes a picture and axis


@dataclass(frozen=True, eq=False)
class AxisValues:
    """One axis over one view. `value_N` has a number for every row, NaN for a picture without one; those of
    deleted pictures mean nothing.
    """

    value_N: Float[ndarray, " n"]
    alive: Bitmap

    def live_values(self) -> Float[ndarray, " n"]:
        return self.value_N[self.alive.rows()]

    @cached_property
    def sorted_N(self) -> Float[ndarray, " n"]:
        """The values of live pictures that have one, rising."""
        value_N = self.live_values()
        return np.sort(value_N[~np.isnan(value_N)])

    def at(self, percentile: float) -> float:
        """The value that `percentile` per cent of the pictures stay below; NaN when none has a value."""
        count = len(self.sorted_N)
        return float(self.sorted_N[min(count - 1, _position(percentile, count))]) if count else float("nan")

    def limits(self, low: float, high: float) -> Limits:
        """Of the pictures from `low` per cent up to, not including, `high` per cent, counted from the least.

        With `high` = 100 the most are included. Equal pictures are in or out together, in the higher band; so
        neighbouring bands share none and miss none.
        """
        count = len(self.sorted_N)
        if count == 0:
            return 0.0, 0.0
        return self.at(low), self.at(high) if _position(high, count) < count else None

    def within(self, limits: Limits) -> Bitmap:
        """Live pictures whose value lies in `limits`; one without a value does not."""
        floor, ceiling = limits
        inside_N = self.value_N >= floor  # NaN compares false
        if ceiling is not None:
            inside_N &= self.value_N < ceiling
        return Bitmap.of_mask(inside_N) & self.alive


def _position(percentile: float, count: int) -> int:
    return int(percentile * count / 100 + 1e-9)  # 0.29 * 100 is not 29 in binary


class ValuesCache:
    """Axes over the newest view; the ones that were asked for last are kept within MOST_BYTES."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, float, int], tuple[int, AxisValues]] = OrderedDict()

    def of(self, axis: Axis, view: View) -> AxisValues:
        key = (axis.name, axis.created_at, view.epoch)  # a version may be forgotten and its number come again
        with self._lock:
            generation, values = self._kept.get(key, (-1, None))
        if values is not None and generation == view.generation:
            return values
        known_N = None if values is None else values.value_N
        values = AxisValues(_extended(known_N, axis, view), view.live())
        with self._lock:
            if view.generation > generation:
                self._kept[key] = (view.generation, values)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self._bytes() > MOST_BYTES:
                self._kept.popitem(last=False)
        return values

    def _bytes(self) -> int:
        return sum(2 * values.value_N.nbytes for _, values in self._kept.values())


def _extended(known_N: Float[ndarray, " n"] | None, axis: Axis, view: View) -> Float[ndarray, " n"]:
    """The values of every row; `known_N` are those of the first ones."""
    if axis.field is not None:
        return view.numbers(axis.field)  # columns grow by themselves
    known_N = np.empty(0, np.float32) if known_N is None else known_N
    fresh_N = values_at(axis, view, np.arange(len(known_N), len(view.matrix)))
    return np.concatenate([known_N, fresh_N])[: len(view.matrix)]  # a view may be older than what is kept
