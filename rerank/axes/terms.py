"""Axes in common units: what a weight means, and the value of an axis for every picture.

    score(x) = q·x + Σ_a s_a (v_a(x) - μ_a),    s_a = γ_a σ_q / σ_a

σ_q and σ_a are the spread of the query's scores and of the axis over the collection: weight γ = 1 trades one
standard deviation of the axis for one of the query, on any model. Without a query σ_q is 1.

Dimension key   N rows or eligible pictures, K hits, D embedding
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.attributes import Term
from indexer.errors import InvalidQueryError
from indexer.protocols import Snapshot
from indexer.tables.axes import Axis, AxisStore
from indexer.types import IdList
from indexer.where import Band, Where
from rerank.axes.axis_values import attribute_of, axis_spread, check_model
from rerank.axes.statistics import MomentsCache, Spread
from rerank.query import Question

LARGEST_WEIGHT = 1e3
Scales = Mapping[str, tuple[float, float]]
"""(scale, offset) of each axis, as the first page of an answer fixed them."""
Limits = tuple[float, float | None]
"""From and below which value; None: to the most there is."""


@dataclass(frozen=True, slots=True)
class ScoreTerm:
    """One axis in a score: `scale · (value - offset)`."""

    axis: Axis
    scale: float
    offset: float

    @property
    def is_linear(self) -> bool:
        return self.axis.direction_D is not None

    def to_store(self) -> Term:
        return Term(attribute_of(self.axis), self.scale, self.offset)


class AxisScorer:
    """The axes of a collection. Stateless but for caches; safe to use from threads."""

    def __init__(self, axes: AxisStore, model_id: str, moments: MomentsCache) -> None:
        self._axes = axes
        self._model_id = model_id
        self._moments = moments

    def axis(self, name: str) -> Axis:
        """UnknownAxisError, or ModelMismatchError when it was fitted for another model."""
        axis = self._axes.get(name)
        check_model(axis, self._model_id)
        return replace(axis, name=name)  # `warm@2` is not `warm` to whoever weighs both

    def versions(self, *names: Iterable[str]) -> list[str]:
        """One for each axis: another once it is taught anew, so that no page goes on with another axis."""
        return [f"{name} of {self.axis(name).created_at}" for name in sorted(set().union(*names))]

    def spread(self, direction_D: Float32[ndarray, " d"], snapshot: Snapshot) -> Spread:
        """Of the inner products of the collection with `direction_D`."""
        return self._moments.of(snapshot).along(direction_D)

    def terms(
        self, weights: Mapping[str, float], question: Question | None, snapshot: Snapshot, fixed: Scales
    ) -> list[ScoreTerm]:
        """A term for each weighted axis; weights count in standard deviations of the question, or in ones.

        Raises:
            InvalidQueryError: A weight is not finite, or larger than LARGEST_WEIGHT.
            UnknownAxisError, ModelMismatchError: As named.
        """
        unit = 1.0
        if question is not None and not question.is_empty:
            unit = self.spread(question.direction_D, snapshot).std
        return [self._term(name, weight, unit, snapshot, fixed) for name, weight in weights.items()]

    def shares(
        self, terms: Iterable[ScoreTerm], snapshot: Snapshot, ids: IdList
    ) -> dict[str, Float64[ndarray, " k"]]:
        """What each term gives the pictures `ids`; NaN where a picture has no value."""
        return {
            term.axis.name: term.scale * (snapshot.values(attribute_of(term.axis), ids) - term.offset)
            for term in terms
        }

    def limits(
        self, bands: Mapping[str, tuple[float, float]], snapshot: Snapshot, fixed: Mapping[str, Limits]
    ) -> dict[str, Limits]:
        """The values at two percentiles of the collection on each axis, as the first page fixed them.

        Equal pictures are in or out together, in the higher band: neighbouring bands share and miss none.
        """
        for name, (low, high) in bands.items():
            if not 0 <= low < high <= 100:
                wrong = f"percentiles {low:g} to {high:g} of {name!r}"
                raise InvalidQueryError(f"{wrong}: expected 0 <= from < to <= 100")
        return {
            name: fixed[name] if name in fixed else self._limits(name, band, snapshot)
            for name, band in bands.items()
        }

    def within(self, limits: Mapping[str, Limits]) -> list[Where]:
        """That the values lie within the limits of every axis named."""
        return [Band(attribute_of(self.axis(name)), *own) for name, own in limits.items()]

    def _limits(self, name: str, band: tuple[float, float], snapshot: Snapshot) -> Limits:
        found = snapshot.quantiles(attribute_of(self.axis(name)), band)
        if not found:
            return 0.0, 0.0
        low, high = found
        return low.value, high.value if band[1] < 100 else None

    def _term(self, name: str, weight: float, unit: float, snapshot: Snapshot, fixed: Scales) -> ScoreTerm:
        if not abs(weight) <= LARGEST_WEIGHT:  # also catches NaN
            bounds = f"-{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"
            raise InvalidQueryError(f"axis weight {name}={weight} is out of range: expected {bounds}")
        axis = self.axis(name)
        if name in fixed:
            return ScoreTerm(axis, *fixed[name])
        if axis.direction_D is not None:
            spread = self.spread(axis.direction_D, snapshot)
        elif axis.standard is not None and axis.kind == "head":
            spread = Spread(
                axis.standard.mean, axis.standard.std
            )  # anew, it would take a pass over all vectors
        else:
            spread = axis_spread(axis, snapshot)
        return ScoreTerm(axis, 0.0 if spread.is_constant else weight * unit / spread.std, spread.mean)


def combined(
    query_D: Float32[ndarray, " d"], terms: Sequence[ScoreTerm]
) -> tuple[Float32[ndarray, " d"], np.float32]:
    """One direction for the query and its linear terms, and what every score along it has too much."""
    direction_D = query_D.copy()
    for term in terms:
        assert term.axis.direction_D is not None
        direction_D += np.float32(term.scale) * term.axis.direction_D
    return direction_D, np.float32(sum(term.scale * term.offset for term in terms))


def scales(terms: Iterable[ScoreTerm]) -> dict[str, tuple[float, float]]:
    return {term.axis.name: (term.scale, term.offset) for term in terms}


def warnings(terms: Sequence[ScoreTerm]) -> tuple[str, ...]:
    """What a person should know before trusting the order."""
    weak = [
        f"axis {t.axis.name!r} is weak on this model: {t.axis.card}" for t in terms if t.axis.trust == "weak"
    ]
    flat = [f"axis {t.axis.name!r} does not tell these pictures apart" for t in terms if t.scale == 0.0]
    return (*weak, *flat)
