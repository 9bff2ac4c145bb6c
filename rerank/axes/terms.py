"""Axes in common units: what a weight means, and the value of an axis for every picture.

    score(x) = q·x + Σ_a s_a (v_a(x) - μ_a),    s_a = γ_a σ_q / σ_a

σ_q and σ_a are the spread of the query's scores and of the axis over the collection: weight γ = 1 trades one
standard deviation of the axis for one of the query, on any model. Without a query σ_q is 1.

Dimension key   N rows or eligible pictures, K hits, D embedding
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.collection.view import View
from indexer.errors import InvalidQueryError
from indexer.tables.axes import Axis, AxisStore
from rerank.axes.cache import AxisValues, Limits, ValuesCache
from rerank.axes.moments import MomentsCache, Spread
from rerank.axes.values import axis_spread, check_model, values_of
from rerank.page import Scored
from rerank.query import Question

LARGEST_WEIGHT = 1e3
Scales = Mapping[str, tuple[float, float]]
"""(scale, offset) of each axis, as the first page of an answer fixed them."""


@dataclass(frozen=True, slots=True)
class Term:
    """One axis in a sum: `scale · (value - offset)`."""

    axis: Axis
    scale: float
    offset: float

    @property
    def is_linear(self) -> bool:
        return self.axis.direction_D is not None


class Taste:
    """The axes of a collection. Stateless but for caches; safe to use from threads."""

    def __init__(self, axes: AxisStore, model_id: str, moments: MomentsCache) -> None:
        self._axes = axes
        self._model_id = model_id
        self._moments = moments
        self._values = ValuesCache()

    def axis(self, name: str) -> Axis:
        """UnknownAxisError, or ModelMismatchError when it was fitted for another model."""
        axis = self._axes.get(name)
        check_model(axis, self._model_id)
        return replace(axis, name=name)  # `warm@2` is not `warm` to whoever weighs both

    def marks(self, *names: Iterable[str]) -> list[str]:
        """One for each axis: another once it is taught anew, so that no page goes on with another axis."""
        return [f"{name} of {self.axis(name).created_at}" for name in sorted(set().union(*names))]

    def spread(self, direction_D: Float32[ndarray, " d"], view: View) -> Spread:
        """Of the inner products of the collection with `direction_D`."""
        return self._moments.of(view).along(direction_D)

    def terms(
        self, weights: Mapping[str, float], question: Question | None, view: View, fixed: Scales
    ) -> list[Term]:
        """A term for each weighted axis; weights count in standard deviations of the question, or in ones.

        Raises:
            InvalidQueryError: A weight is not finite, or larger than LARGEST_WEIGHT.
            UnknownAxisError, ModelMismatchError: As named.
        """
        unit = 1.0
        if question is not None and not question.is_empty:
            unit = self.spread(question.direction_D, view).std
        return [self._term(name, weight, unit, view, fixed) for name, weight in weights.items()]

    def values(self, axis: Axis, view: View) -> AxisValues:
        """The axis for every row of `view`."""
        return self._values.of(axis, view)

    def total(self, terms: Sequence[Term], view: View, allow: Bitmap) -> Scored:
        """Σ over `terms` for every picture of `allow`, by rising slot.

        A picture without a value is neither raised nor lowered; where there is but one term, it is NaN.
        """
        rows_N = allow.rows()
        total_N = np.zeros(len(rows_N), np.float64)
        for term in terms:
            share_N = (self.values(term.axis, view).value_N[rows_N] - term.offset) * term.scale
            total_N += share_N if len(terms) == 1 else np.nan_to_num(share_N, nan=0.0)
        return Scored(total_N.astype(np.float32), view.slots_of(rows_N))

    def shares(
        self, terms: Iterable[Term], view: View, slots_K: Int64[ndarray, " k"]
    ) -> dict[str, Float64[ndarray, " k"]]:
        """What each term gives the pictures in `slots_K`; NaN where a picture has no value."""
        shares: dict[str, Float64[ndarray, " k"]] = {}
        for term in terms:
            value_K = values_of(term.axis, view, slots_K).astype(np.float64)
            shares[term.axis.name] = term.scale * (value_K - term.offset)
        return shares

    def limits(
        self, bands: Mapping[str, tuple[float, float]], view: View, fixed: Mapping[str, Limits]
    ) -> dict[str, Limits]:
        """The values at two percentiles of the collection on each axis, as the first page fixed them."""
        for name, (low, high) in bands.items():
            if not 0 <= low < high <= 100:
                wrong = f"percentiles {low:g} to {high:g} of {name!r}"
                raise InvalidQueryError(f"{wrong}: expected 0 <= from < to <= 100")
        return {
            name: fixed[name] if name in fixed else self.values(self.axis(name), view).limits(*band)
            for name, band in bands.items()
        }

    def within(self, limits: Mapping[str, Limits], view: View, allow: Bitmap) -> Bitmap:
        """Those of `allow` whose values lie within the limits of every axis named."""
        for name, own in limits.items():
            allow = self.values(self.axis(name), view).within(own) & allow
        return allow

    def _term(self, name: str, weight: float, unit: float, view: View, fixed: Scales) -> Term:
        if not abs(weight) <= LARGEST_WEIGHT:  # also catches NaN
            bounds = f"-{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"
            raise InvalidQueryError(f"axis weight {name}={weight} is out of range: expected {bounds}")
        axis = self.axis(name)
        if name in fixed:
            return Term(axis, *fixed[name])
        if axis.direction_D is not None:
            spread = self.spread(axis.direction_D, view)
        elif axis.standard is not None and axis.kind == "head":
            spread = Spread(
                axis.standard.mean, axis.standard.std
            )  # anew, it would take a pass over all vectors
        else:
            spread = axis_spread(axis, view)
        return Term(axis, 0.0 if spread.is_flat else weight * unit / spread.std, spread.mean)


def combined(
    query_D: Float32[ndarray, " d"], terms: Sequence[Term]
) -> tuple[Float32[ndarray, " d"], np.float32]:
    """One direction for the query and its linear terms, and what every score along it has too much."""
    direction_D = query_D.copy()
    for term in terms:
        assert term.axis.direction_D is not None
        direction_D += np.float32(term.scale) * term.axis.direction_D
    return direction_D, np.float32(sum(term.scale * term.offset for term in terms))


def scales(terms: Iterable[Term]) -> dict[str, tuple[float, float]]:
    return {term.axis.name: (term.scale, term.offset) for term in terms}


def warnings(terms: Sequence[Term]) -> tuple[str, ...]:
    """What a person should know before trusting the order."""
    weak = [
        f"axis {t.axis.name!r} is weak on this model: {t.axis.card}" for t in terms if t.axis.trust == "weak"
    ]
    flat = [f"axis {t.axis.name!r} does not tell these pictures apart" for t in terms if t.scale == 0.0]
    return (*weak, *flat)
