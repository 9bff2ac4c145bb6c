"""What an axis is worth: figures on what was held out, the trust that follows, and the words for both.

Dimension key   N labelled pictures, D embedding
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.errors import InvalidAxisError
from indexer.tables.axes import Figures, Trust
from rerank.axes.rank_correlation import Interval, spearman, spearman_interval, tie_limited_maximum
from rerank.axes.splits import fold_groups

SEED = 0  # of splits, folds and resamples: the same examples give the same axis and the same figures
FOLDS = 5
FEWEST_MEASURED = 10  # held-out examples; a bootstrap over fewer looks surer than it is
Direction = Callable[[Float32[ndarray, "n d"], ndarray], Float32[ndarray, " d"]]


def left_out_scores(
    vectors_ND: Float32[ndarray, "n d"], label_N: ndarray, group_N: ndarray, fit: Direction
) -> ndarray:
    """The score of each picture on an axis fitted without its fold; NaN where those had no axis.

    Scores are on unit directions, without the bias: with it, the mean of the other labels would leak in.
    """
    score_N = np.full(len(label_N), np.nan)
    folds = min(FOLDS, len(np.unique(group_N)))
    fold_N = fold_groups(group_N, folds, np.random.default_rng(SEED))
    for fold in range(folds):
        inside = fold_N == fold
        try:
            axis_D = fit(vectors_ND[~inside], label_N[~inside])
        except InvalidAxisError:  # one label only, or none, is left without this fold
            continue
        score_N[inside] = vectors_ND[inside] @ axis_D
    return score_N


def figures_of_labels(
    *, train_score_N: ndarray, train_label_N: ndarray, score_M: ndarray, label_M: ndarray, how: str
) -> Figures:
    """Spearman's correlation on both sides; held-out pictures without a score are left out."""
    known = ~np.isnan(score_M)
    score_M, label_M = score_M[known], label_M[known]
    measurable = len(score_M) > 2 and np.ptp(label_M) > 0
    interval = (
        spearman_interval(score_M, label_M, np.random.default_rng(SEED))
        if measurable
        else Interval(math.nan, math.nan)
    )
    return Figures(
        n_train=len(train_score_N),
        n_held_out=len(score_M),
        training=known_or_none(spearman(train_score_N, train_label_N)),
        held_out=known_or_none(spearman(score_M, label_M)) if measurable else None,
        low=known_or_none(interval.low),
        high=known_or_none(interval.high),
        maximum=known_or_none(tie_limited_maximum(label_M)) if measurable else None,
        how=how,
    )


def trust_of(figures: Figures) -> Trust:
    """`weak` when the held-out order may be chance, `measured` when enough says that it is not."""
    if figures.held_out is None or figures.low is None:
        return "taught"
    if not figures.low > 0:
        return "weak"
    return "measured" if figures.n_held_out >= FEWEST_MEASURED else "taught"


def in_words(figures: Figures) -> str:
    """Sentences for the card."""
    if figures.held_out is None or figures.low is None or figures.high is None:
        return "Too few examples to measure it on any that were held out."
    text = (
        f"Held-out rank correlation {figures.held_out:.2f}, 95 % interval {figures.low:.2f} to "
        f"{figures.high:.2f} ({figures.how})."
    )
    if figures.maximum is not None and figures.maximum < 0.995:
        text += f" Ties among the labels allow at most {figures.maximum:.2f}."
    if not figures.low > 0:
        text += " Weak: the interval includes 0 or less, so this order may be chance. Give more examples."
    elif figures.n_held_out < FEWEST_MEASURED:
        text += f" {figures.n_held_out} held-out examples are too few to rely on that."
    return text


def known_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
