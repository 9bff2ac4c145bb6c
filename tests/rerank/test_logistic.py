"""Logistic loss: derivatives against finite differences, the minimum against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from rerank.logistic import least_loss, logistic_loss, sigmoid


@given(seed=st.integers(0, 99), penalty=st.floats(1e-4, 1))
def test_derivatives_are_those_of_finite_differences(seed: int, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    signed_NF, weight_F = rng.standard_normal((9, 4)), 2 * rng.standard_normal(4)
    penalty_F = penalty * np.array([1.0, 2.0, 0.5, 0.0])
    at = logistic_loss(weight_F, signed_NF, penalty_F)
    step = 1e-5
    for f in range(4):
        up_F, down_F = weight_F + step * np.eye(4)[f], weight_F - step * np.eye(4)[f]
        up, down = logistic_loss(up_F, signed_NF, penalty_F), logistic_loss(down_F, signed_NF, penalty_F)
        assert (up.value - down.value) / (2 * step) == pytest.approx(at.gradient_F[f], abs=1e-7)
        slope_F = (up.gradient_F - down.gradient_F) / (2 * step)
        assert slope_F == pytest.approx(at.hessian_FF[f], abs=1e-6)


@given(seed=st.integers(0, 99), penalty=st.sampled_from([1e-4, 0.01, 1.0]), bias=st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_weights_have_less_loss(seed: int, penalty: float, bias: bool) -> None:
    rng = np.random.default_rng(seed)
    signed_NF = rng.standard_normal((40, 3)) + 0.5
    penalty_F = np.array([penalty, penalty, 0.0 if bias else penalty])
    if bias:
        signed_NF[:, 2] = np.where(np.arange(40) % 3 == 0, -1.0, 1.0)
    best = minimize(
        lambda weight_F: logistic_loss(weight_F, signed_NF, penalty_F).value,
        np.zeros(3),
        jac=lambda weight_F: logistic_loss(weight_F, signed_NF, penalty_F).gradient_F,
        method="BFGS",
        options={"gtol": 1e-9},
    )
    found_F = least_loss(signed_NF, penalty_F)
    assert found_F == pytest.approx(best.x, abs=1e-4 * max(1.0, np.abs(best.x).max()))
    assert np.abs(logistic_loss(found_F, signed_NF, penalty_F).gradient_F).max() < 1e-9


def test_the_last_steps_change_less_than_rounding_does() -> None:
    """Here Newton's full step, which ends at the minimum, seems to raise the loss in its last digit."""
    rng = np.random.default_rng(231)
    signed_NF = rng.standard_normal((40, 3)) + 0.5
    found_F = least_loss(signed_NF, np.full(3, 0.01))
    assert np.abs(logistic_loss(found_F, signed_NF, np.full(3, 0.01)).gradient_F).max() < 1e-9


def test_a_step_that_goes_too_far_is_halved() -> None:
    """Newton's full steps go round in a circle here."""
    first_NF = [[0.2, -0.9, 2.0], [0.8, -0.5, -1.0], [0.0, 2.2, -0.7]]
    signed_NF = np.array([*first_NF, [2.2, -2.1, 0.7], [0.1, 1.0, 53.8], [1.0, -0.4, 1.1]])
    penalty_F = np.full(3, 1e-5)
    found_F = least_loss(signed_NF, penalty_F)
    assert np.abs(logistic_loss(found_F, signed_NF, penalty_F).gradient_F).max() < 1e-9


@pytest.mark.parametrize("penalty", [1e-9, 1e-12])
def test_a_flat_loss_is_followed_to_its_minimum(penalty: float) -> None:
    """One pair: σ(-w) = λ w, where the slope has long been almost nothing."""
    (found,) = least_loss(np.ones((1, 1)), np.array([penalty]))
    expected = brentq(lambda w: 1 / (1 + np.exp(w)) - penalty * w, 1, 50, xtol=1e-12)
    assert found == pytest.approx(expected, rel=1e-8)


def test_where_all_are_sure_the_hessian_can_still_be_inverted() -> None:
    at = logistic_loss(np.array([1000.0, 0.0]), np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2))
    assert (np.linalg.eigvalsh(at.hessian_FF) > 0).all()


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
