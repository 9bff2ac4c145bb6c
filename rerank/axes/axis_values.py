"""The number that an axis, of any kind, gives a picture.

Dimension key   N pictures, D embedding
"""

from collections.abc import Callable

from jaxtyping import Float, Float32
from numpy import ndarray

from indexer.attributes import Attribute, Computed, Linear, Stored
from indexer.errors import ModelMismatchError
from indexer.protocols import Snapshot
from indexer.tables.axes import Axis
from rerank.axes.heads import Head
from rerank.axes.statistics import SAMPLE, Spread, spread_of


def attribute_of(axis: Axis) -> Attribute:
    """v·x, the stored number, or what the head says of x, as a store understands it."""
    if axis.field is not None:
        return Stored(axis.field)
    key = f"{axis.name} of {axis.created_at}"  # a version may be deleted and its number come again
    if axis.direction_D is not None:
        return Linear(axis.direction_D, key)
    return Computed(value_of(axis), key)


def value_of(axis: Axis) -> Callable[[Float32[ndarray, "n d"]], Float[ndarray, " n"]]:
    """v·x, or what the head says of x, for embeddings that need not be stored. Not for field axes."""
    if axis.direction_D is not None:
        direction_D = axis.direction_D
        return lambda vectors_ND: vectors_ND @ direction_D
    assert axis.head is not None
    return Head.of(axis.head)


def check_model(axis: Axis, model_id: str) -> None:
    """Raise ModelMismatchError unless `axis` has a meaning for vectors of that model."""
    if axis.kind != "field" and axis.model_id != model_id:
        raise ModelMismatchError(
            f"axis {axis.name!r} was fitted for {axis.model_id}, this collection is of {model_id}"
        )


def axis_spread(axis: Axis, snapshot: Snapshot) -> Spread:
    """Mean and standard deviation of the axis over a sample of the collection, or over all of a field."""
    if axis.field is not None:
        known = snapshot.statistics(Stored(axis.field))
        return Spread(known.mean, known.std)
    return spread_of(value_of(axis)(snapshot.sample(SAMPLE).vectors_ND))
