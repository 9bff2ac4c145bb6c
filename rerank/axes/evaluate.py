"""How well a stored axis orders labels that it was not fitted on.

Dimension key   N labelled pictures
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.errors import InvalidAxisError
from indexer.protocols import Encoder, Store
from indexer.tables.axes import Axis, AxisStore, content_key
from rerank.axes.axis_metrics import SEED, known_or_none
from rerank.axes.axis_values import attribute_of, check_model
from rerank.axes.examples import Label, distinct_labels
from rerank.axes.rank_correlation import pearson, spearman, spearman_interval, tie_limited_maximum


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures over `n` pictures; None where the axis gives all of them one value.

    `left_out` labels were of pictures that the axis was fitted on, `without_value` of pictures that have no
    number in the field that the axis is. `low` and `high` bound `spearman` with 95 %; `maximum` is the most
    that ties among the labels allow.
    """

    n: int
    left_out: int
    without_value: int
    spearman: float | None
    low: float | None
    high: float | None
    pearson: float | None
    maximum: float


def evaluate(
    axis: Axis, store: AxisStore, labels: Sequence[Label], collection: Store, encoder: Encoder
) -> Evaluation:
    """Score `axis` on those labels whose pictures it was not fitted on.

    Raises:
        NotFoundError: A picture is not in the collection.
        ModelMismatchError: The axis belongs to another model.
        InvalidAxisError: No label is left, one only, all are equal, or they contradict each other.
    """
    check_model(axis, encoder.model_id)
    labels = distinct_labels(labels)
    snapshot = collection.snapshot()
    ids_N = np.array([label.id for label in labels], np.int64)
    rows = snapshot.rows(ids_N)
    fresh_N = ~np.isin(np.array([content_key(row.sha256) for row in rows], np.uint64), store.used(axis))
    if not fresh_N.any():
        raise InvalidAxisError(
            f"none of the {len(labels)} labels is left: axis {axis.name!r} was fitted on every picture given"
        )
    value_N = snapshot.values(attribute_of(axis), ids_N[fresh_N])
    label_N = np.array([label.value for label in labels])[fresh_N]
    known_N = ~np.isnan(value_N)
    value_N, label_N = value_N[known_N], label_N[known_N]
    if len(label_N) < 2 or np.ptp(label_N) == 0:
        raise InvalidAxisError(
            f"{len(label_N)} labels are left, with {len(np.unique(label_N))} different values: "
            "expected at least 2"
        )
    interval = spearman_interval(value_N, label_N, np.random.default_rng(SEED))
    return Evaluation(
        n=len(label_N),
        left_out=int((~fresh_N).sum()),
        without_value=int((~known_N).sum()),
        spearman=known_or_none(spearman(value_N, label_N)),
        low=known_or_none(interval.low),
        high=known_or_none(interval.high),
        pearson=known_or_none(pearson(value_N, label_N)),
        maximum=tie_limited_maximum(label_N),
    )
