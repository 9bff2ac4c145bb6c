"""Correlations against SciPy, ridge against its normal equations, leave-one-out against leaving one out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from indexer.errors import InvalidAxisError
from rerank.axes import rank_correlation, ridge, splits
from tests.support.labels import labelled
from tests.support.pictures import unit_vectors

LABELS = st.lists(st.integers(-4, 4), min_size=3, max_size=40).filter(lambda labels: len(set(labels)) > 1)


# --- Rank correlation ---


@given(labels=LABELS, seed=st.integers(0, 99))
def test_spearman_is_that_of_scipy(labels: list[int], seed: int) -> None:
    label_N = np.array(labels)
    score_N = np.random.default_rng(seed).integers(0, 6, len(labels)) + np.arange(len(labels)) % 2
    if np.ptp(score_N) > 0:
        assert rank_correlation.spearman(score_N, label_N) == pytest.approx(
            stats.spearmanr(score_N, label_N)[0], abs=1e-12
        )
        assert rank_correlation.pearson(score_N, label_N) == pytest.approx(
            stats.pearsonr(score_N, label_N)[0], abs=1e-12
        )


@given(labels=LABELS, factor=st.floats(0.1, 50), shift=st.floats(-9, 9), seed=st.integers(0, 99))
def test_spearman_knows_order_only(labels: list[int], factor: float, shift: float, seed: int) -> None:
    label_N = np.array(labels)
    score_N = np.random.default_rng(seed).standard_normal(len(labels))
    expected = rank_correlation.spearman(score_N, label_N)
    assert rank_correlation.spearman(factor * score_N + shift, label_N) == pytest.approx(expected)
    assert rank_correlation.spearman(np.exp(score_N), label_N) == pytest.approx(expected)
    assert rank_correlation.spearman(-score_N, label_N) == pytest.approx(-expected)


def test_what_does_not_vary_has_no_correlation() -> None:
    assert np.isnan(rank_correlation.spearman(np.ones(4), np.arange(4)))
    assert np.isnan(rank_correlation.pearson(np.arange(10), np.full(10, 0.1)))


@given(labels=LABELS)
def test_ties_bound_the_correlation(labels: list[int]) -> None:
    """By definition of the ranks: sqrt(1 - Σ(t³ - t) / (n³ - n)) over the runs of t equal labels."""
    n, runs = len(labels), np.unique(labels, return_counts=True)[1].astype(float)
    expected = np.sqrt(1 - (runs**3 - runs).sum() / (n**3 - n))
    assert rank_correlation.tie_limited_maximum(np.array(labels)) == pytest.approx(expected)


def test_the_interval_is_that_of_resampled_pictures() -> None:
    rng = np.random.default_rng(3)
    label_N = rng.integers(0, 5, 60)
    score_N = label_N + rng.standard_normal(60)
    found = rank_correlation.spearman_interval(score_N, label_N, np.random.default_rng(7), resamples=200)
    draw = np.random.default_rng(7)
    rows = [draw.integers(0, 60, 60) for _ in range(200)]
    low, high = np.percentile([stats.spearmanr(score_N[i], label_N[i])[0] for i in rows], [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high))
    again = rank_correlation.spearman_interval(score_N, label_N, np.random.default_rng(7), resamples=200)
    assert again == found


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Bivariate normal with r = 0.5: Spearman's coefficient of the population is 6/π asin(r/2)."""
    rng = np.random.default_rng(5)
    truth = 6 / np.pi * np.arcsin(0.25)
    covered = 0
    for _ in range(100):
        a_N, b_N = rng.standard_normal((2, 80))
        found = rank_correlation.spearman_interval(a_N, 0.5 * a_N + np.sqrt(0.75) * b_N, rng, resamples=200)
        covered += found.includes(truth)
    assert 86 <= covered <= 100  # 95 expected, standard deviation 2.2


def test_an_interval_of_nothing_includes_everything() -> None:
    interval = rank_correlation.spearman_interval(np.ones(5), np.arange(5), np.random.default_rng(0))
    assert np.isnan(interval.low)
    assert interval.includes(0.0)


# --- Splits ---


@given(sizes=st.lists(st.integers(1, 9), min_size=3, max_size=30), seed=st.integers(0, 50))
def test_a_split_tears_no_group_apart(sizes: list[int], seed: int) -> None:
    group_N = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split = splits.split_groups(group_N, np.random.default_rng(seed))
    sides = [split.train_I, split.validation_I, split.test_I]
    assert sorted(np.concatenate(sides)) == list(range(len(group_N)))
    assert all(len(side) for side in sides)
    groups = [set(group_N[side]) for side in sides]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    again = splits.split_groups(group_N, np.random.default_rng(seed))
    assert np.array_equal(again.test_I, split.test_I)


def test_a_split_of_single_rows_keeps_the_shares() -> None:
    split = splits.split_groups(np.arange(1000), np.random.default_rng(0))
    assert [len(side) for side in (split.train_I, split.validation_I, split.test_I)] == [800, 100, 100]
    with pytest.raises(InvalidAxisError, match="2 groups"):
        splits.split_groups(np.array([1, 1, 2]), np.random.default_rng(0))


@given(sizes=st.lists(st.integers(1, 9), min_size=5, max_size=30), seed=st.integers(0, 50))
def test_folds_hold_whole_groups_of_about_equal_size(sizes: list[int], seed: int) -> None:
    group_N = np.repeat(np.arange(len(sizes)), sizes)
    fold_N = splits.fold_groups(group_N, 5, np.random.default_rng(seed))
    assert all(len(set(fold_N[group_N == g])) == 1 for g in range(len(sizes)))
    filled = np.bincount(fold_N, minlength=5)
    assert filled.min() > 0
    assert np.ptp(filled) <= max(sizes)


# --- Ridge ---


@pytest.mark.parametrize(("n", "dim"), [(60, 12), (12, 60), (20, 20), (2, 30)])
@pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
def test_both_forms_of_ridge_solve_the_normal_equations(n: int, dim: int, penalty: float) -> None:
    """The oracle solves for weights and intercept at once, with nothing on the intercept."""
    vectors_ND, label_N = labelled(n, dim)
    x_ND = vectors_ND.astype(np.float64)
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    mean_D, std_D = x_ND.mean(axis=0), x_ND.std(axis=0)
    design_NE = np.column_stack([(x_ND - mean_D) / std_D, np.ones(n)])
    ridge_E = np.append(np.full(dim, penalty * n), 0.0)
    weight_E = np.linalg.solve(design_NE.T @ design_NE + np.diag(ridge_E), design_NE.T @ label_N)
    raw_D = weight_E[:-1] / std_D
    for factorise in (ridge.primal, ridge.dual, ridge.by_shape):
        line = ridge.Ridge.of(vectors_ND, label_N, factorise=factorise).line(penalty)
        assert np.linalg.norm(line.direction_D) == pytest.approx(1.0, abs=1e-5)
        assert line.gain == pytest.approx(np.linalg.norm(raw_D), rel=1e-5)
        assert line.direction_D == pytest.approx(raw_D / np.linalg.norm(raw_D), abs=1e-5)
        expected_N = design_NE @ weight_E
        assert line.predict(vectors_ND) == pytest.approx(expected_N, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("n", "dim"), [(30, 8), (9, 25)])
@pytest.mark.parametrize("factorise", [ridge.primal, ridge.dual])
def test_leave_one_out_is_leaving_one_out(n: int, dim: int, factorise: ridge.Factorise) -> None:
    vectors_ND, label_N = labelled(n, dim)
    whole = ridge.Ridge.of(vectors_ND, label_N, factorise=factorise)
    for penalty in (1e-3, 0.1, 10.0):
        expected = []
        for i in range(n):
            rest = np.arange(n) != i
            centre_D, level = whole.z_ND[rest].mean(axis=0), label_N[rest].mean()
            z_ND = whole.z_ND[rest] - centre_D
            gram_DD = z_ND.T @ z_ND + penalty * n * np.eye(dim)
            weight_D = np.linalg.solve(gram_DD, z_ND.T @ (label_N[rest] - level))
            expected.append(level + (whole.z_ND[i] - centre_D) @ weight_D)
        assert whole.left_out(penalty) == pytest.approx(np.array(expected), rel=1e-6)


def test_the_penalty_with_the_best_validation_order_is_taken() -> None:
    vectors_ND, label_N = labelled(200, 40, noise=1.0)
    split = splits.split_groups(np.arange(200), np.random.default_rng(1))
    train = ridge.Ridge.of(vectors_ND[split.train_I], label_N[split.train_I])
    held_ND, held_N = vectors_ND[split.validation_I], label_N[split.validation_I]
    srcc = {p: stats.spearmanr(held_ND @ train.line(p).direction_D, held_N)[0] for p in ridge.PENALTIES}
    line = ridge.fit_validated(vectors_ND, label_N, split)
    assert line.penalty == max(p for p in srcc if srcc[p] == max(srcc.values()))
    both = np.concatenate([split.train_I, split.validation_I])
    expected = ridge.Ridge.of(vectors_ND[both], label_N[both]).line(line.penalty)
    assert line.direction_D == pytest.approx(expected.direction_D, abs=1e-5)
    before = line.direction_D.copy()
    label_N[split.test_I] = 0  # the test side is not looked at
    assert np.array_equal(ridge.fit_validated(vectors_ND, label_N, split).direction_D, before)


def test_noise_is_penalised_and_clean_labels_are_not() -> None:
    clean_ND, clean_N = labelled(60, 20, noise=0.0)
    noisy_ND, noisy_N = labelled(60, 20, noise=3.0)
    assert ridge.fit_left_out(clean_ND, clean_N).penalty <= 1e-4
    assert ridge.fit_left_out(noisy_ND, noisy_N).penalty >= 0.1


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 100), shift=st.floats(-50, 50))
def test_neither_the_order_of_examples_nor_the_unit_of_labels_matters(
    seed: int, factor: float, shift: float
) -> None:
    vectors_ND, label_N = labelled(30, 12, seed=seed)
    order = np.random.default_rng(seed).permutation(30)
    line = ridge.fit_left_out(vectors_ND, label_N)
    moved = ridge.fit_left_out(vectors_ND[order], factor * label_N[order] + shift)
    assert moved.direction_D == pytest.approx(line.direction_D, abs=1e-5)
    assert moved.predict(vectors_ND) == pytest.approx(factor * line.predict(vectors_ND) + shift, rel=1e-4)


def test_two_labels_need_scales_from_elsewhere() -> None:
    """With their own, the direction is ±1/|x - y| in each column; with others', it is (x - y)/s²."""
    vectors_2D, std_D = unit_vectors(2, 8, seed=5), np.linspace(0.1, 0.5, 8)
    difference_D = ridge.unit_rows(vectors_2D)[1] - ridge.unit_rows(vectors_2D)[0]
    for given_D, raw_D in ((None, 1 / difference_D), (std_D, difference_D / std_D**2)):
        line = ridge.fit_left_out(vectors_2D, np.array([0.0, 1.0]), std_D=given_D)
        assert line.direction_D == pytest.approx(raw_D / np.linalg.norm(raw_D), abs=1e-5)


def test_a_column_that_never_varies_breaks_nothing() -> None:
    vectors_ND, label_N = labelled(30, 6)
    padded_ND = np.column_stack([vectors_ND, np.zeros(30)]).astype(np.float32)
    line = ridge.fit_left_out(padded_ND, label_N)
    assert line.direction_D[-1] == 0
    assert line.direction_D[:-1] == pytest.approx(
        ridge.fit_left_out(vectors_ND, label_N).direction_D, abs=1e-5
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0], "at least two"),
        ([2.0, 2.0, 2.0], "all 3 labels are 2"),
        ([1.0, np.nan], "not a finite number"),
        ([1.0, np.inf], "not a finite number"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: list[float], message: str) -> None:
    with pytest.raises(InvalidAxisError, match=message):
        ridge.fit_left_out(unit_vectors(len(labels), 5, seed=0), np.array(labels))


def test_pictures_that_look_the_same_have_no_axis() -> None:
    same_ND = np.repeat(unit_vectors(1, 8, seed=0), 3, axis=0)
    with pytest.raises(InvalidAxisError, match="look the same"):
        ridge.fit_left_out(same_ND, np.arange(3.0))
