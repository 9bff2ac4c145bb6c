"""Few-shot curves and extremes, beside the same computed by hand."""

import numpy as np
import pytest
from scipy import stats

from indexer.errors import InvalidAxisError
from rerank.axes.few_shot import draw_extremes, few_shot, two_extremes
from rerank.axes.ridge import fit_left_out
from tests.support.labels import labelled
from tests.support.pictures import unit_vectors


def test_more_labels_order_better() -> None:
    vectors_ND, label_N = labelled(300, 24, noise=0.5)
    curve = few_shot(
        vectors_ND[:200],
        label_N[:200],
        vectors_ND[200:],
        label_N[200:],
        np.random.default_rng(0),
        sizes=(4, 64),
    )
    assert [point.n for point in curve] == [4, 64, 200]
    assert [point.draws for point in curve] == [20, 20, 1]
    assert curve[0].mean < curve[1].mean < curve[2].mean + 0.02
    line = fit_left_out(vectors_ND[:200], label_N[:200])
    expected = stats.spearmanr(vectors_ND[200:] @ line.direction_D, label_N[200:])[0]
    assert curve[-1].mean == pytest.approx(expected)
    assert curve[0].std > curve[1].std


def test_draws_whose_labels_are_equal_are_counted_out() -> None:
    vectors_ND, label_N = unit_vectors(40, 6, seed=1), np.append(np.zeros(39), 1.0)
    (point, _) = few_shot(
        vectors_ND, label_N, vectors_ND, label_N, np.random.default_rng(0), sizes=(2,), draws=10
    )
    assert point.draws < 10


def test_extremes_come_from_the_tails() -> None:
    label_N = np.random.default_rng(2).permutation(200).astype(float)
    high_K, low_K = draw_extremes(label_N, 4, 0.05, np.random.default_rng(0))
    assert len(set(high_K)) == len(set(low_K)) == 4
    assert set(label_N[high_K]) <= set(range(190, 200))
    assert set(label_N[low_K]) <= set(range(10))
    high_K, low_K = draw_extremes(label_N, 3, 0.0, np.random.default_rng(0))
    assert sorted(label_N[high_K]) == [197, 198, 199]
    assert sorted(label_N[low_K]) == [0, 1, 2]
    with pytest.raises(InvalidAxisError, match="need 202 labels"):
        draw_extremes(label_N, 101, 0.5, np.random.default_rng(0))


def test_the_axis_of_extremes_is_the_mean_of_their_differences() -> None:
    vectors_ND, label_N = labelled(100, 12)
    test_ND, test_N = labelled(60, 12, seed=2)
    point = two_extremes(
        vectors_ND, label_N, test_ND, test_N, np.random.default_rng(0), pairs=5, tail=0.0, draws=2
    )
    order = np.argsort(label_N)
    difference_KD = vectors_ND[order[-5:]] - vectors_ND[order[:5]]
    expected = stats.spearmanr(test_ND @ difference_KD.mean(axis=0), test_N)[0]
    assert (point.n, point.draws) == (5, 2)
    assert point.mean == pytest.approx(expected)
    assert point.std == pytest.approx(0.0, abs=1e-12)
