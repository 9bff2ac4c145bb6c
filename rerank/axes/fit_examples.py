"""Labels and ordered pairs → a fitted axis, measured on what was held out.

Dimension key   N labelled pictures, P pairs, D embedding
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from indexer.errors import InvalidAxisError
from indexer.protocols import Encoder, Store
from indexer.tables.axes import Axis, Figures
from rerank.axes.axis_metrics import (
    FOLDS,
    SEED,
    figures_of_labels,
    in_words,
    known_or_none,
    left_out_scores,
    trust_of,
)
from rerank.axes.direction import check_name
from rerank.axes.examples import Label, OrderedPair, Pictures, checked_pairs, described, distinct_labels
from rerank.axes.pairwise import choose_pair_penalty, fit_pairs, order_kept, order_kept_interval
from rerank.axes.ridge import Line, fit_left_out, fit_validated, unit_rows
from rerank.axes.splits import Split, fold_groups, split_groups
from rerank.axes.statistics import SAMPLE

MANY_LABELS = 100  # from here on a tenth is enough to choose a penalty by, and another to measure on
FEW_PAIRS = 10  # below it nothing can be held out to choose a penalty by
FEW_PAIRS_PENALTY = 1e-2  # about the middle of those that more pairs choose
MOST_TO_CHOOSE = 300  # pairs that the penalty is chosen on; 30 fits of them take about a second


def fit_by_labels(name: str, labels: Sequence[Label], collection: Store, encoder: Encoder) -> Axis:
    """Ridge regression. Many labels are split; of few all are used, and the figures are cross-validated.

    Raises:
        NotFoundError: A picture is not in the collection.
        InvalidAxisError: Fewer than two labels, all equal, contradicting, or not finite.
    """
    check_name(name)
    labels = distinct_labels(labels)
    pictures = Pictures.of([label.id for label in labels], collection)
    label_N = np.array([label.value for label in labels])
    group_N = _belonging(labels, pictures)
    split = _split(label_N, group_N)
    if split is None:
        std_D = unit_rows(collection.snapshot().sample(SAMPLE).vectors_ND).std(axis=0)
        line, figures = _fit_all(pictures, label_N, group_N, std_D)
        used = pictures
    else:
        line, figures = _fit_split(pictures, label_N, split)
        rest = np.sort(np.concatenate([split.train_I, split.validation_I]))
        used = Pictures([pictures.rows[i] for i in rest], pictures.vectors_ND[rest])
    groups = len({label.group for label in labels if label.group})
    return Axis(
        name=name,
        kind="linear",
        method="labels",
        model_id=encoder.model_id,
        direction_D=line.direction_D,
        field=None,
        trust=trust_of(figures),
        card=f"Ridge regression on {figures.n_train} labelled pictures (λ = {line.penalty:g}). "
        + in_words(figures),
        inputs={
            **described("labels", [[label.id, label.value, label.group] for label in labels]),
            "groups": groups,
            "penalty": line.penalty,
        },
        gain=line.gain,
        bias=line.bias,
        sign="a larger label is more",
        figures=figures,
        used_U=used.content_keys(),
    )


def _belonging(labels: Sequence[Label], pictures: Pictures) -> ndarray:
    """Equal for pictures of one group, and for copies of one picture, whatever groups those are in."""
    copies = [row.sha256 for row in pictures.rows]
    groups = [f"group {lab.group}" if lab.group else copy for lab, copy in zip(labels, copies, strict=True)]
    place = np.unique([*groups, *copies], return_inverse=True)[1]
    return _islands(place[: len(labels)], place[len(labels) :])


def _split(label_N: ndarray, group_N: ndarray) -> Split | None:
    """None when there are too few labels, or too few different ones on a side."""
    if len(label_N) < MANY_LABELS or len(np.unique(group_N)) < MANY_LABELS // FOLDS:
        return None
    split = split_groups(group_N, np.random.default_rng(SEED))
    sides = (split.train_I, split.validation_I, split.test_I)
    return split if all(np.ptp(label_N[side]) > 0 for side in sides) else None


def _fit_split(pictures: Pictures, label_N: ndarray, split: Split) -> tuple[Line, Figures]:
    line = fit_validated(pictures.vectors_ND, label_N, split)
    score_N = pictures.vectors_ND @ line.direction_D
    fitted = np.concatenate([split.train_I, split.validation_I])
    return line, figures_of_labels(
        train_score_N=score_N[fitted],
        train_label_N=label_N[fitted],
        score_M=score_N[split.test_I],
        label_M=label_N[split.test_I],
        how=f"{len(split.test_I)} pictures that the fit never saw",
    )


def _fit_all(
    pictures: Pictures, label_N: ndarray, group_N: ndarray, std_D: Float64[ndarray, " d"]
) -> tuple[Line, Figures]:
    """Columns are scaled by their deviation over the collection: that of a few rows says little."""
    line = fit_left_out(pictures.vectors_ND, label_N, std_D=std_D)
    return line, figures_of_labels(
        train_score_N=pictures.vectors_ND @ line.direction_D,
        train_label_N=label_N,
        score_M=left_out_scores(
            pictures.vectors_ND,
            label_N,
            group_N,
            lambda x_ND, y_N: fit_left_out(x_ND, y_N, std_D=std_D).direction_D,
        ),
        label_M=label_N,
        how=f"each of {len(label_N)} pictures scored by a fit without it",
    )


def fit_by_pairs(name: str, pairs: Sequence[OrderedPair], collection: Store, encoder: Encoder) -> Axis:
    """Logistic regression on ordered pairs; the figures are cross-validated over the pairs.

    Raises:
        NotFoundError: A picture is not in the collection.
        InvalidAxisError: No pair, a picture paired with itself, or pairs that cancel each other.
    """
    check_name(name)
    pairs = checked_pairs(pairs)
    if not pairs:
        raise InvalidAxisError("no pairs: an axis needs at least one")
    pictures = Pictures.of([i for pair in pairs for i in (pair.more, pair.less)], collection)
    more_P = pictures.places([pair.more for pair in pairs])
    less_P = pictures.places([pair.less for pair in pairs])
    line, figures = _fit_pairs(pictures, more_P, less_P)
    return Axis(
        name=name,
        kind="linear",
        method="pairs",
        model_id=encoder.model_id,
        direction_D=line.direction_D,
        field=None,
        trust=trust_of(figures),
        card=f"Logistic regression on {len(pairs)} ordered pairs of {len(pictures.rows)} pictures "
        f"(λ = {line.penalty:g}). {in_words(figures)}",
        inputs={
            **described("pairs", [[pair.more, pair.less] for pair in pairs]),
            "penalty": line.penalty,
        },
        gain=line.gain,
        bias=line.bias,
        sign="the first picture of a pair has more",
        figures=figures,
        used_U=pictures.content_keys(),
    )


def _fit_pairs(pictures: Pictures, more_P: ndarray, less_P: ndarray) -> tuple[Line, Figures]:
    more_PD, less_PD = pictures.vectors_ND[more_P], pictures.vectors_ND[less_P]
    island_P = _islands(more_P, less_P)
    apart = bool(np.bincount(island_P).max() <= len(island_P) / 2)  # else a fold would hold most of all
    group_P = island_P if apart else np.arange(len(more_P))
    penalty = FEW_PAIRS_PENALTY
    if len(more_P) >= FEW_PAIRS:
        some = np.sort(np.random.default_rng(SEED).permutation(len(more_P))[:MOST_TO_CHOOSE])
        penalty = choose_pair_penalty(more_PD[some], less_PD[some], _folds(group_P[some]))
    line = fit_pairs(more_PD, less_PD, penalty=penalty)
    margin_P = np.full(len(more_P), np.nan)
    if len(np.unique(group_P)) > 1:
        fold_P = _folds(group_P)
        for fold in range(int(fold_P.max()) + 1):
            inside = fold_P == fold
            try:
                without = fit_pairs(more_PD[~inside], less_PD[~inside], penalty=penalty)
            except InvalidAxisError:  # what is left cancels
                continue
            margin_P[inside] = (more_PD[inside] - less_PD[inside]) @ without.direction_D
    known_P = margin_P[~np.isnan(margin_P)]
    interval = order_kept_interval(known_P, np.random.default_rng(SEED)) if len(known_P) > 2 else None
    shared = "" if apart else "; its pictures occur in other pairs too, which flatters the figure"
    return line, Figures(
        n_train=len(more_P),
        n_held_out=len(known_P),
        training=known_or_none(order_kept((more_PD - less_PD) @ line.direction_D)),
        held_out=None if interval is None else order_kept(known_P),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        maximum=None,
        how=f"each pair ordered by a fit without it{shared}",
    )


def _folds(group_P: ndarray) -> ndarray:
    folds = min(FOLDS, len(np.unique(group_P)))
    return fold_groups(group_P, folds, np.random.default_rng(SEED))


def _islands(one_P: ndarray, other_P: ndarray) -> ndarray:
    """For each pair a number, equal for pairs that a chain of common members connects."""
    root = {int(i): int(i) for i in np.concatenate([one_P, other_P])}

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for one, other in zip(one_P.tolist(), other_P.tolist(), strict=True):
        root[find(one)] = find(other)
    return np.array([find(i) for i in one_P.tolist()])
