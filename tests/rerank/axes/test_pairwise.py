"""Pairwise logistic regression: gradients against finite differences, minima against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray
from scipy import optimize

from indexer.errors import InvalidAxisError
from rerank.axes.pairwise import choose_pair_penalty, fit_pairs
from rerank.axes.rank_correlation import spearman
from tests.support.labels import labelled
from tests.support.pictures import unit_vectors


def ordered(pairs: int, dim: int, seed: int = 1, noise: float = 0.3) -> tuple[ndarray, ndarray]:
    """Pairs ordered by a hidden direction, with some mistakes."""
    vectors_ND, label_N = labelled(2 * pairs, dim, seed, noise)
    first, second = np.arange(pairs), np.arange(pairs, 2 * pairs)
    swap_P = label_N[first] < label_N[second]
    more, less = np.where(swap_P, second, first), np.where(swap_P, first, second)
    return vectors_ND[more], vectors_ND[less]


@pytest.mark.parametrize(("pairs", "dim"), [(80, 10), (12, 40)])
@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_the_axis_is_the_minimum_over_the_whole_space(pairs: int, dim: int, penalty: float) -> None:
    """Also where it was looked for in the span of the pairs only."""
    more_PD, less_PD = ordered(pairs, dim)
    difference_PD = more_PD.astype(np.float64) - less_PD

    def loss(weight_D: ndarray) -> float:
        margin_P = difference_PD @ weight_D
        return float(np.logaddexp(0, -margin_P).mean() + penalty / 2 * weight_D @ weight_D)

    best = optimize.minimize(loss, np.zeros(dim), method="BFGS", options={"gtol": 1e-7})
    line = fit_pairs(more_PD, less_PD, penalty=penalty)
    assert line.gain * line.direction_D == pytest.approx(best.x, abs=1e-3 * np.abs(best.x).max())
    assert line.gain == pytest.approx(np.linalg.norm(best.x), rel=1e-3)


def test_pairs_find_the_order_behind_them() -> None:
    line = fit_pairs(*ordered(400, 16), penalty=1e-3)
    vectors_ND, label_N = labelled(800, 16)
    assert spearman(vectors_ND @ line.direction_D, label_N) > 0.85


@pytest.mark.parametrize("penalty", [1e-12, 1e-5, 1.0])
def test_pairs_without_a_mistake_stay_finite(penalty: float) -> None:
    more_PD, less_PD = ordered(3, 20, noise=0.0)
    line = fit_pairs(more_PD, less_PD, penalty=penalty)
    assert np.isfinite(line.direction_D).all()
    assert np.isfinite(line.gain)
    assert ((more_PD - less_PD) @ line.direction_D > 0).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 200))
def test_neither_the_order_of_pairs_nor_reversing_all_of_them_changes_more_than_the_sign(seed: int) -> None:
    more_PD, less_PD = ordered(20, 8, seed=seed)
    order = np.random.default_rng(seed).permutation(20)
    line = fit_pairs(more_PD, less_PD, penalty=0.01)
    moved = fit_pairs(more_PD[order], less_PD[order], penalty=0.01)
    assert moved.direction_D == pytest.approx(line.direction_D, abs=1e-5)
    reversed_line = fit_pairs(less_PD, more_PD, penalty=0.01)
    assert reversed_line.direction_D == pytest.approx(-line.direction_D, abs=1e-5)


def test_a_cycle_is_data() -> None:
    a, b, c, d = unit_vectors(4, 6, seed=3)
    line = fit_pairs(np.stack([a, b, c, d]), np.stack([b, c, a, a]), penalty=0.01)
    assert (d - a) @ line.direction_D > 0


def test_mistakes_ask_for_a_larger_penalty() -> None:
    fold_P = np.arange(200) % 5
    clean = choose_pair_penalty(*ordered(200, 10, noise=0.0), fold_P)
    more_PD, less_PD = ordered(200, 10, noise=30.0)
    assert clean < choose_pair_penalty(more_PD, less_PD, fold_P)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (np.empty((2, 0, 5)), "at least one"),
        (np.repeat(unit_vectors(1, 5), 2, axis=0)[:, None], "look the same"),
        (np.stack([unit_vectors(2, 5), unit_vectors(2, 5)[::-1]]), "cancel each other"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(pairs: ndarray, message: str) -> None:
    with pytest.raises(InvalidAxisError, match=message):
        fit_pairs(pairs[0], pairs[1], penalty=0.1)
