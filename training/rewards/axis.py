"""A rank axis of a collection as a reward: what a search would say of the picture, had it been indexed.

    r(x) = (v_a(x) - μ_a) / σ_a       μ_a, σ_a: over the collection, as the service takes them

Dimension key   N pictures, D embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from numpy import ndarray

from indexer.collection.collection import DATABASE, Collection
from indexer.disk.vectors import to_rows
from indexer.errors import InvalidInputError, NotFoundError
from indexer.imaging.decode import at_scale, working_copy
from indexer.imaging.measures import MEASURED_SIDE, measure
from indexer.protocols import Encoder
from indexer.tables.axes import AxisStore
from rerank.axes.axis_values import value_of
from rerank.axes.statistics import MomentsCache
from rerank.axes.terms import AxisScorer, ScoreTerm
from training.rewards.cached_encoder import CachedEncoder
from training.rewards.embedded import EmbeddedReward
from training.rewards.reward import Reward, RewardCard

MEASURED = ("measured.colourfulness", "measured.brightness", "measured.sharpness")


@dataclass(frozen=True, slots=True)
class MeasuredReward:
    """An axis whose field is measured of the pixels, as it is when a picture is indexed."""

    term: ScoreTerm
    card: RewardCard

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        return standardised(self.term, np.array([self._value(picture) for picture in pictures]))

    def _value(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> float:
        measures = measure(at_scale(working_copy(pixels_HW3), MEASURED_SIDE))
        assert self.term.axis.field is not None
        return float(getattr(measures, self.term.axis.field.removeprefix("measured.")))


def load_axis(name: str, data_dir: Path, collection: str, encoder: Encoder, card: RewardCard) -> Reward:
    """The axis `name`, or `name@2`, of a collection, which is read once and not kept open.

    Raises:
        NotFoundError, UnknownAxisError: There is no such collection, or axis.
        ModelMismatchError: The collection, or the axis, is of another model than `encoder`.
        InvalidInputError: A field axis of something that new pictures do not have, or an axis that does not
            tell the pictures of the collection apart.
    """
    term = _term(name, data_dir, collection, encoder)
    axis = term.axis
    if term.scale == 0.0:
        raise InvalidInputError(
            f"axis {name!r} does not tell the pictures of {data_dir} apart: nothing to reward"
        )
    card = replace(
        card,
        name=f"axis:{name}",
        source=f"axis {axis.name}, version {axis.version}, of {data_dir}: {axis.card}",
    )
    if axis.field is None:
        value = value_of(axis)
        return EmbeddedReward(
            _cached_encoder(encoder), lambda x_ND: standardised(term, value(_stored(x_ND))), card
        )
    if axis.field not in MEASURED:
        raise InvalidInputError(
            f"axis {name!r} is the stored field {axis.field!r}, which a new picture does not have: "
            f"expected a linear axis, a head, or one of {', '.join(MEASURED)}"
        )
    return MeasuredReward(term, card)


def standardised(term: ScoreTerm, value_N: Float[ndarray, " n"]) -> Float64[ndarray, " n"]:
    return term.scale * (value_N.astype(np.float64) - term.offset)


def _term(name: str, data_dir: Path, collection: str, encoder: Encoder) -> ScoreTerm:
    if not (data_dir / DATABASE).is_file() or not (data_dir / collection).is_dir():
        raise NotFoundError(f"there is no collection {collection!r} in {data_dir}")  # opening would make one
    opened = Collection.open(data_dir, collection, model_id=encoder.model_id, dim=encoder.dim)
    try:
        scorer = AxisScorer(AxisStore(opened.database, collection), encoder.model_id, MomentsCache())
        (term,) = scorer.terms({name: 1.0}, None, opened.snapshot(), {})
    finally:
        opened.close()
    return term


def _stored(vectors_ND: Float32[ndarray, "n d"]) -> Float32[ndarray, "n d"]:
    """Through float16, as a collection keeps its vectors."""
    return to_rows(vectors_ND, vectors_ND.shape[1]).astype(np.float32)


def _cached_encoder(encoder: Encoder) -> CachedEncoder:
    """Pictures as they are indexed: reduced first where they are large."""
    return CachedEncoder(
        lambda pictures: encoder.encode_images([working_copy(p) for p in pictures]), encoder.encode_texts
    )
