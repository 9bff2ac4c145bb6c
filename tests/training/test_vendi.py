"""Diversity as an effective number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InvalidInputError
from training.vendi import vendi

ORDERS = [0.5, 1.0, 2.0, np.inf]


def same(labels: str) -> np.ndarray:
    return np.array([[float(a == b) for b in labels] for a in labels])


@pytest.mark.parametrize("order", [0.0, *ORDERS])
def test_things_with_nothing_in_common_are_counted(order: float) -> None:
    assert vendi(np.eye(8), order) == pytest.approx(8)
    assert vendi(np.ones((8, 8)), order) == pytest.approx(1)


def test_groups_count_by_their_shares() -> None:
    """Labels A, A, B, C have the eigenvalues 1/2, 1/4, 1/4."""
    shares = np.array([0.5, 0.25, 0.25])
    assert vendi(same("AABC")) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))))
    assert vendi(same("AABC"), 2.0) == pytest.approx(1 / np.sum(shares**2))
    assert vendi(same("AABC"), np.inf) == pytest.approx(2)
    assert vendi(same("AABC"), 0.0) == pytest.approx(3)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), order=st.sampled_from(ORDERS))
def test_the_score_is_an_effective_number(seed: int, n: int, order: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kernel = rows @ rows.T
    score = vendi(kernel, order)
    assert 1 - 1e-9 <= score <= n + 1e-9
    mixed = rng.permutation(n)
    assert vendi(kernel[np.ix_(mixed, mixed)], order) == pytest.approx(score)


@pytest.mark.parametrize(
    "kernel", [np.zeros((0, 0)), np.ones((2, 3)), 2 * np.eye(3), np.array([[1, 0.5], [0, 1]])]
)
def test_matrices_that_are_no_kernel_are_refused(kernel: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        vendi(kernel)


def test_a_negative_order_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="order is -1"):
        vendi(np.eye(2), -1.0)
