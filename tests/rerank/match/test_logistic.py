"""The fit over standardised features, against a general optimiser."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rerank.match.logistic import Logistic


@given(st.integers(0, 500), st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=30, deadline=None)
def test_the_fit_is_the_minimum_of_its_loss(seed: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(5.0, 3.0, (60, 3))
    y_N = rng.random(60) < 1 / (1 + np.exp(-(x_NF[:, 0] - 5.0)))
    y_N[:2] = (True, False)
    z_NF = np.clip((x_NF - x_NF.mean(0)) / x_NF.std(0), -4, 4)

    def loss(solution: np.ndarray) -> float:
        logit_N = z_NF @ solution[:3] + solution[3]
        return float(
            np.sum(np.log1p(np.exp(-np.where(y_N, logit_N, -logit_N))))
            + ridge / 2 * solution[:3] @ solution[:3]
        )

    expected = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x
    fitted = Logistic.fit(x_NF, y_N, ridge)
    assert [*fitted.weight_F, fitted.bias] == pytest.approx(expected.tolist(), abs=1e-4)


def test_separable_answers_have_finite_weights() -> None:
    x_NF = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    fitted = Logistic.fit(x_NF, np.array([False, False, True, True]), 1e-6)
    assert np.isfinite(fitted.weight_F).all()
    assert fitted.probability(x_NF).round(3).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_feature_that_never_changes_weighs_nothing() -> None:
    x_NF = np.array([[7.0, 0.0], [7.0, 1.0], [7.0, 2.0], [7.0, 3.0]])
    fitted = Logistic.fit(x_NF, np.array([False, True, False, True]), 1.0)
    assert fitted.weight_F[0] == pytest.approx(0.0, abs=1e-12)


def test_a_wild_feature_counts_as_four_deviations() -> None:
    x_NF = np.array([[0.0], [1.0], [2.0], [3.0]])
    fitted = Logistic.fit(x_NF, np.array([False, False, True, True]), 1.0)
    edge = fitted.centre_F + 4 * fitted.scale_F
    assert fitted.probability(np.array([[1e9]])) == pytest.approx(fitted.probability(edge[None]))
