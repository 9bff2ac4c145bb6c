"""Which candidates become a pair, worked out by hand."""

import numpy as np
import pytest

from training.spro.select import KEPT, verdicts, winner_and_loser

WEAK, UNLIKE = "weak gain", "unlike the plain picture"
WINNER_N = np.array([5.0, 4.0, 3.0, 9.0])
BASE_N = np.array([1.0, 3.0, 2.5, 8.9])  # gains 4, 1, 0.5, 0.1: mean 1.4; mean base 3.85
FIDELITY_N = np.array([0.75, 0.9, 0.8, 0.7])


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([1.0, 3.0, 2.0], (1, 0)),
        ([None, 3.0, 2.0], (1, 2)),
        ([2.0, 3.0, 3.0, 2.0], (1, 0)),  # the first of equals
        ([2.0, 2.0], None),
        ([None, 2.0], None),
        ([None, None], None),
        ([], None),
    ],
)
def test_winner_and_loser(scores: list[float | None], chosen: tuple[int, int] | None) -> None:
    assert winner_and_loser(scores) == chosen


def test_gains_below_the_mean_gain_are_weak() -> None:
    found = verdicts(WINNER_N, BASE_N, FIDELITY_N, 0.75, "below-mean-gain")
    assert found == [KEPT, WEAK, WEAK, UNLIKE]


def test_the_other_reading_compares_with_the_mean_plain_picture() -> None:
    found = verdicts(WINNER_N, BASE_N, FIDELITY_N, 0.75, "below-mean-base")
    assert found == [KEPT, KEPT, WEAK, UNLIKE]


def test_without_a_gain_filter_fidelity_alone_decides() -> None:
    assert verdicts(WINNER_N, BASE_N, FIDELITY_N, 0.75, "none") == [KEPT, KEPT, KEPT, UNLIKE]


def test_nothing_to_choose_from_is_no_error() -> None:
    empty = np.zeros(0)
    assert verdicts(empty, empty, empty, 0.75, "below-mean-gain") == []
