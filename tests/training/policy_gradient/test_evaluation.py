"""Distances between sets of features, and the bounds that stop a run."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from training.policy_gradient.config import GuardConfig
from training.policy_gradient.evaluation import Evaluation, frechet, spread
from training.policy_gradient.guard import stop_reason

BASE = Evaluation(reward=0.2, held_out={"agreement": 0.5}, diversity=10.0, drift=0.0, departure=0.0)


def test_the_frechet_distance_is_that_of_matrix_roots() -> None:
    rng = np.random.default_rng(0)
    a_NF, b_MF = (
        rng.standard_normal((60, 5)),
        0.5 + rng.standard_normal((40, 5)) @ rng.standard_normal((5, 5)),
    )
    s_a, s_b = np.cov(a_NF.T, bias=True), np.cov(b_MF.T, bias=True)
    away = np.sum((a_NF.mean(axis=0) - b_MF.mean(axis=0)) ** 2)
    expected = away + np.trace(s_a + s_b - 2 * np.real(sqrtm(s_a @ s_b)))
    assert frechet(a_NF, b_MF) == pytest.approx(expected, rel=1e-9)


def test_a_set_is_no_distance_from_itself() -> None:
    rows_NF = np.random.default_rng(1).standard_normal((8, 30))  # fewer rows than features
    assert frechet(rows_NF, rows_NF[::-1]) == pytest.approx(0, abs=1e-9)


def test_a_shift_is_its_square() -> None:
    rows_NF = np.random.default_rng(2).standard_normal((20, 4))
    assert frechet(rows_NF, rows_NF + 2) == pytest.approx(4 * 2**2)
    assert spread(rows_NF) == pytest.approx(np.trace(np.cov(rows_NF.T, bias=True)))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Evaluation(0.9, {"agreement": 0.35}, 9.0, 0.1, 0.1), "agreement fell from 0.5 to 0.35"),
        (Evaluation(0.9, {"agreement": 0.6}, 4.0, 0.1, 0.1), "diversity fell from 10 to 4"),
        (Evaluation(0.9, {"agreement": 0.6}, 9.0, 3.0, 0.1), "3 away from the base model"),
        (Evaluation(0.1, {"agreement": 0.45}, 5.0, 2.0, 0.9), None),
    ],
)
def test_each_bound_has_its_words(now: Evaluation, words: str | None) -> None:
    bounds = GuardConfig(held_out_fall={"agreement": 0.1}, diversity=0.5, drift=2.5)
    found = stop_reason(bounds, BASE, now)
    assert (found is None) if words is None else (found is not None and words in found)


def test_what_has_no_bound_is_not_watched() -> None:
    assert stop_reason(GuardConfig(), BASE, Evaluation(0, {"agreement": -9.0}, 1.0, 99.0, 1.0)) is None
