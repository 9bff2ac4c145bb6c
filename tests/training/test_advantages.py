"""Advantages, by hand and by their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.advantages import PromptBuffers, global_std, group

PROMPTS = ["a", "b", "a", "b"]


def test_a_group_is_the_pictures_of_one_prompt() -> None:
    # a: 1 and 3, mean 2, std 1; b: 10 and 10
    np.testing.assert_allclose(group(np.array([1.0, 10.0, 3.0, 10.0]), PROMPTS), [-1, 0, 1, 0], atol=1e-7)


def test_global_scales_by_the_spread_of_all() -> None:
    reward_N = np.array([1.0, 10.0, 3.0, 10.0])
    std = np.std(reward_N) + 1e-4
    np.testing.assert_allclose(global_std(reward_N, PROMPTS), np.array([-1, 0, 1, 0]) / std)


def test_rounding_is_no_advantage() -> None:
    nearly = np.array([0.3, 0.3 + 1e-9, 0.3 - 1e-9, 0.3])
    for compare in (group, global_std, PromptBuffers().advantages):
        np.testing.assert_array_equal(compare(nearly, ["a"] * 4), np.zeros(4))


@given(
    st.lists(st.floats(-100, 100), min_size=4, max_size=12),
    st.floats(-50, 50),
    st.floats(0.1, 10),
)
def test_a_group_knows_no_offset_and_no_unit(rewards: list[float], offset: float, unit: float) -> None:
    reward_N = np.array(rewards)
    if reward_N.std() < 1e-3:
        return
    prompts = ["p"] * len(rewards)
    expected = group(reward_N, prompts)
    np.testing.assert_allclose(group(unit * reward_N + offset, prompts), expected, atol=1e-4)
    assert abs(expected.sum()) < 1e-6


def test_a_buffer_compares_with_earlier_epochs_once_it_holds_enough() -> None:
    buffers = PromptBuffers(size=32, least=4)
    first = buffers.advantages(np.array([0.0, 1.0]), ["a", "a"])
    np.testing.assert_allclose(first, [-1, 1], atol=1e-5)  # two are too few: this epoch stands in
    second = buffers.advantages(np.array([4.0, 7.0]), ["a", "a"])
    known = np.array([0.0, 1.0, 4.0, 7.0])
    np.testing.assert_allclose(second, (known[2:] - known.mean()) / (known.std() + 1e-6))


def test_a_buffer_drops_the_oldest() -> None:
    buffers = PromptBuffers(size=3, least=1)
    buffers.advantages(np.array([100.0, 1.0, 2.0]), ["a"] * 3)
    found = buffers.advantages(np.array([3.0]), ["a"])
    assert found[0] == pytest.approx((3 - 2) / (np.std([1, 2, 3]) + 1e-6))


def test_a_restored_buffer_goes_on() -> None:
    one = PromptBuffers(size=8, least=2)
    one.advantages(np.array([1.0, 2.0, 5.0]), ["a", "a", "b"])
    other = PromptBuffers(size=8, least=2)
    other.restore(one.state())
    rewards = np.array([3.0, 9.0])
    np.testing.assert_array_equal(one.advantages(rewards, ["a", "b"]), other.advantages(rewards, ["a", "b"]))
