"""What a person gives → an axis, with a card that says what it rests on.

Dimension key   N labelled pictures, P pairs, K pictures of one end, D embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.attributes import Stored
from indexer.encoders.tensor_files import Tensors
from indexer.errors import InvalidAxisError
from indexer.protocols import Encoder, Store
from indexer.tables.axes import Axis, Standard
from rerank.axes.axis_metrics import figures_of_labels, in_words, left_out_scores
from rerank.axes.axis_values import axis_spread
from rerank.axes.defaults import prompt_axis
from rerank.axes.direction import axis_between, check_name
from rerank.axes.examples import Label, OrderedPair, Pictures
from rerank.axes.fit_examples import fit_by_labels, fit_by_pairs
from rerank.axes.heads import Activation, Head


@dataclass(frozen=True, slots=True)
class FromPrompts:
    high: tuple[str, ...]
    low: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FromExtremes:
    """Ids of pictures with much and with little of the attribute."""

    high: tuple[int, ...]
    low: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FromPairs:
    pairs: tuple[OrderedPair, ...]


@dataclass(frozen=True, slots=True)
class FromLabels:
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class FromField:
    field: str


@dataclass(frozen=True, slots=True)
class FromHead:
    """A network that others trained. `activation` where the layout of its layers does not tell."""

    tensors: Tensors
    activation: Activation | None = None


TrainingSignal = FromPrompts | FromExtremes | FromPairs | FromLabels | FromField | FromHead


def fit_axis(name: str, signal: TrainingSignal, collection: Store, encoder: Encoder) -> Axis:
    """The axis that `signal` describes, standardised on the collection, not stored yet.

    Raises:
        InvalidAxisError: A name that cannot name an axis, or a signal from which none can be fitted.
        NotFoundError: A picture that is not in the collection.
    """
    match signal:
        case FromPrompts():
            axis = fit_by_prompts(name, signal.high, signal.low, encoder)
        case FromExtremes():
            axis = fit_by_extremes(name, signal.high, signal.low, collection, encoder)
        case FromPairs():
            axis = fit_by_pairs(name, signal.pairs, collection, encoder)
        case FromLabels():
            axis = fit_by_labels(name, signal.labels, collection, encoder)
        case FromField():
            axis = fit_by_field(name, signal.field, collection, encoder)
        case FromHead():
            axis = fit_by_head(name, signal, encoder)
        case _:
            assert_never(signal)
    return standardised(axis, collection)


def standardised(axis: Axis, collection: Store) -> Axis:
    """`axis` with its mean and standard deviation over the collection; without, where that is empty."""
    snapshot = collection.snapshot()
    if snapshot.images == 0:
        return replace(axis, standard=None)
    spread = axis_spread(axis, snapshot)
    return replace(axis, standard=Standard(spread.mean, spread.std))


def fit_by_prompts(name: str, high: Sequence[str], low: Sequence[str], encoder: Encoder) -> Axis:
    """An axis from words for its two ends."""
    for text in (*high, *low):
        if not text.strip():
            raise InvalidAxisError("a prompt is blank: expected words that describe one end of the axis")
    return prompt_axis(check_name(name), tuple(high), tuple(low), encoder=encoder)


def fit_by_extremes(
    name: str, high: Sequence[int], low: Sequence[int], collection: Store, encoder: Encoder
) -> Axis:
    """An axis from stored pictures with much and with little of the attribute, each counted once.

    Raises:
        NotFoundError: An id is not in the collection.
        InvalidAxisError: A picture stands at both ends, or the ends look the same to the model.
    """
    check_name(name)
    both = sorted(set(high) & set(low))
    if both:
        raise InvalidAxisError(f"image {both[0]} is given for both ends of the axis")
    pictures = Pictures.of([*high, *low], collection)
    end_N = np.isin([row.id for row in pictures.rows], high).astype(np.float64)
    direction_D = _between_ends(pictures.vectors_ND, end_N)
    group_N = np.array([row.sha256 for row in pictures.rows])
    figures = figures_of_labels(
        train_score_N=pictures.vectors_ND @ direction_D,
        train_label_N=end_N,
        score_M=left_out_scores(pictures.vectors_ND, end_N, group_N, _between_ends),
        label_M=end_N,
        how="each example scored by an axis made without it",
    )
    middle = (pictures.vectors_ND[end_N == 1].mean(axis=0) + pictures.vectors_ND[end_N == 0].mean(axis=0)) / 2
    n_high = int(end_N.sum())
    weak = figures.low is not None and not figures.low > 0
    return Axis(
        name=name,
        kind="linear",
        method="extremes",
        model_id=encoder.model_id,
        direction_D=direction_D,
        field=None,
        trust="weak" if weak else "taught",
        card=f"From {n_high} example pictures of the high end and {len(end_N) - n_high} of the low end. "
        f"{in_words(figures)} What lies between the ends was not measured.",
        inputs={"high": list(high), "low": list(low)},
        bias=-float(middle @ direction_D),
        sign="the examples of the high end score higher",
        figures=figures,
        used_U=pictures.content_keys(),
    )


def _between_ends(vectors_ND: Float32[ndarray, "n d"], end_N: ndarray) -> Float32[ndarray, " d"]:
    return axis_between(vectors_ND[end_N == 1], vectors_ND[end_N == 0])


def fit_by_field(name: str, field: str, collection: Store, encoder: Encoder) -> Axis:
    """An axis that is a number stored with the picture: a date, a price, a rating."""
    snapshot = collection.snapshot()
    known = snapshot.statistics(Stored(field)).count
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
        card=f"The stored field {field!r}; {known} of {snapshot.images} pictures had one when the axis was "
        "made.",
        inputs={"field": field},
        sign="a larger number is more",
    )


def fit_by_head(name: str, signal: FromHead, encoder: Encoder) -> Axis:
    """An axis from a published head. One that is an affine map becomes a direction like any other.

    Raises:
        InvalidAxisError: As `Head.of_tensors` says, or the head takes vectors of another length.
    """
    head = Head.of_tensors(signal.tensors, signal.activation)
    if head.dim != encoder.dim:
        raise InvalidAxisError(
            f"the head takes {head.dim} numbers, {encoder.model_id} makes {encoder.dim}: it belongs to "
            "another model"
        )
    line = head.collapse()
    widths = [len(layer.bias_O) for layer in head.layers]
    shape = "one affine map" if line else f"{len(widths)} layers with {head.activation} between them"
    return Axis(
        name=check_name(name),
        kind="head" if line is None else "linear",
        method="head",
        model_id=encoder.model_id,
        direction_D=None if line is None else line.direction_D,
        field=None,
        trust="taught",
        card=f"A head that was trained elsewhere: {shape}. That it was trained on {encoder.model_id} is the "
        "word of whoever gave it; it was not measured here.",
        inputs={"widths": [head.dim, *widths], "activation": head.activation},
        gain=1.0 if line is None else line.gain,
        bias=0.0 if line is None else line.bias,
        sign="a larger output is more",
        head=head.to_bytes() if line is None else None,
    )
