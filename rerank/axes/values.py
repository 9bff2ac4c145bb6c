"""The number that an axis, of any kind, gives a picture.

Dimension key   N pictures, D embedding
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray

from indexer.collection.view import View
from indexer.errors import ModelMismatchError
from indexer.tables.axes import Axis
from rerank.axes.heads import BLOCK, Head
from rerank.axes.moments import SAMPLE, Spread, spread_of


def values_at(axis: Axis, view: View, rows_N: Int64[ndarray, " n"]) -> Float[ndarray, " n"]:
    """v·x, the stored number, or what the head says of x, for each of `rows_N`; NaN where there is none."""
    if axis.field is not None:
        return view.numbers(axis.field)[rows_N]
    if axis.direction_D is not None:
        return view.matrix.project(axis.direction_D, rows_N)
    value = value_of(axis)
    starts = range(0, len(rows_N), BLOCK)
    return np.concatenate([np.empty(0), *(value(view.matrix.take(rows_N[at : at + BLOCK])) for at in starts)])


def value_of(axis: Axis) -> Callable[[Float32[ndarray, "n d"]], Float[ndarray, " n"]]:
    """v·x, or what the head says of x, for embeddings that need not be stored. Not for field axes."""
    if axis.direction_D is not None:
        direction_D = axis.direction_D
        return lambda vectors_ND: vectors_ND @ direction_D
    assert axis.head is not None
    return Head.of(axis.head)


def values_of(axis: Axis, view: View, slots_N: Int64[ndarray, " n"]) -> Float[ndarray, " n"]:
    """As `values_at`, for pictures by slot."""
    return values_at(axis, view, view.rows_of(slots_N))


def check_model(axis: Axis, model_id: str) -> None:
    """Raise ModelMismatchError unless `axis` has a meaning for vectors of that model."""
    if axis.kind != "field" and axis.model_id != model_id:
        raise ModelMismatchError(
            f"axis {axis.name!r} was fitted for {axis.model_id}, this collection is of {model_id}"
        )


def axis_spread(axis: Axis, view: View) -> Spread:
    """Mean and standard deviation of the axis over a sample of the collection, or over all of a field."""
    rows_N = view.live().rows()
    if axis.field is None:
        rows_N = rows_N[:: max(1, -(-len(rows_N) // SAMPLE))]
    return spread_of(values_at(axis, view, rows_N))
