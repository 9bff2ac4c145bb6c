"""What a person gives → an axis, with a card that says what it rests on."""

from collections.abc import Sequence

import numpy as np

from indexer.axis_store import Axis
from indexer.collection import Collection
from indexer.errors import InvalidAxisError
from indexer.protocols import Encoder
from indexer.types import ImageId
from rerank.axes import axis_between, check_name
from rerank.defaults import prompt_axis


def teach_by_prompts(name: str, high: Sequence[str], low: Sequence[str], encoder: Encoder) -> Axis:
    """An axis from words for its two ends."""
    for text in (*high, *low):
        if not text.strip():
            raise InvalidAxisError("a prompt is blank: expected words that describe one end of the axis")
    return prompt_axis(check_name(name), tuple(high), tuple(low), encoder=encoder)


def teach_by_extremes(
    name: str, high: Sequence[int], low: Sequence[int], collection: Collection, encoder: Encoder
) -> Axis:
    """An axis from stored pictures with much and with little of the attribute.

    Raises:
        NotFoundError: An id is not in the collection.
        InvalidAxisError: A picture stands at both ends, or the ends look the same to the model.
    """
    both = sorted(set(high) & set(low))
    if both:
        raise InvalidAxisError(f"image {both[0]} is given for both ends of the axis")
    view = collection.view()
    ends = [
        view.vectors_at([row.slot for row in view.rows([ImageId(i) for i in dict.fromkeys(end)])])
        for end in (high, low)
    ]
    return Axis(
        name=check_name(name),
        kind="linear",
        method="extremes",
        model_id=encoder.model_id,
        direction_D=axis_between(*ends),
        field=None,
        trust="prompt",
        card=f"From {len(ends[0])} example pictures of the high end and {len(ends[1])} of the low end. "
        "Not measured on labels.",
        inputs={"high": list(high), "low": list(low)},
    )


def teach_by_field(name: str, field: str, collection: Collection, encoder: Encoder) -> Axis:
    """An axis that is a number stored with the pictures: a date, a price, a rating."""
    view = collection.view()
    known = int(np.count_nonzero(~np.isnan(view.numbers(field)[view.live().rows()])))
    if known == 0:
        raise InvalidAxisError(f"no picture of this collection has a number in {field!r}")
    return Axis(
        name=check_name(name),
        kind="field",
        method="field",
        model_id=encoder.model_id,
        direction_D=None,
        field=field,
        trust="exact",
        card=f"The stored field {field!r}; {known} of {view.images} pictures had one when the axis was made.",
        inputs={"field": field},
    )
