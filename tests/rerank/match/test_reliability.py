"""Measures of probabilities, against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.match.reliability import auroc, bins, brier, calibration_error


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_auroc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    right = [score for score, true in rows if true]
    wrong = [score for score, true in rows if not true]
    found = auroc(np.array([float(score) for score, _ in rows]), np.array([true for _, true in rows]))
    if not right or not wrong:
        assert math.isnan(found)
    else:
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong]
        assert found == pytest.approx(sum(pairs) / len(pairs))


def test_calibration_error_weighs_bins_by_their_size() -> None:
    p_N = np.array([0.05, 0.05, 0.05, 1.0])
    true_N = np.array([False, False, True, True])
    assert [(b.count, b.said, b.true) for b in bins(p_N, true_N)] == [
        (3, pytest.approx(0.05), pytest.approx(1 / 3)),
        (1, 1.0, 1.0),
    ]
    assert calibration_error(p_N, true_N) == pytest.approx(0.75 * (1 / 3 - 0.05))


def test_brier_is_the_mean_square() -> None:
    assert brier(np.array([0.5, 1.0]), np.array([True, False])) == pytest.approx((0.25 + 1.0) / 2)
