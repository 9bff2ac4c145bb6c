"""The number that an axis, of any kind, gives a picture.

Dimension key   N pictures, D embedding
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from indexer.axis_store import Axis
from indexer.errors import ModelMismatchError
from indexer.view import View
from rerank.heads import BLOCK, Head
from rerank.moments import SAMPLE, Spread, spread_of


def values_of(axis: Axis, view: View, slots_N: Int64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """v·x, the stored number, or what the head says of x, for each of `slots_N`; NaN where there is none."""
    if axis.field is not None:
        return view.numbers(axis.field, slots_N)
    blocks = [slots_N[start : start + BLOCK] for start in range(0, len(slots_N), BLOCK)]
    if axis.head is not None:
        head = Head.of(axis.head)
        found = [head(view.vectors_at(block)) for block in blocks]
    else:
        assert axis.direction_D is not None
        found = [view.vectors_at(block) @ axis.direction_D for block in blocks]
    return np.concatenate([np.empty(0), *found])


def check_model(axis: Axis, model_id: str) -> None:
    """Raise ModelMismatchError unless `axis` has a meaning for vectors of that model."""
    if axis.kind != "field" and axis.model_id != model_id:
        raise ModelMismatchError(
            f"axis {axis.name!r} was fitted for {axis.model_id}, this collection is of {model_id}"
        )


def axis_spread(axis: Axis, view: View) -> Spread:
    """Mean and standard deviation of the axis over a sample of the collection, or over all of a field."""
    slots_N = view.slots_in(view.live())
    if axis.field is None:
        slots_N = slots_N[:: max(1, -(-len(slots_N) // SAMPLE))]
    return spread_of(values_of(axis, view, slots_N))
