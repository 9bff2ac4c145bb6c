"""The cache against a list of what was asked for, and what is made is made once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.lru import Lru

SOON_S = 30.0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.integers(1, 9))), st.integers(1, 20))
def test_the_newest_stay_while_they_are_light_enough(steps: list[tuple[str, bool, int]], most: int) -> None:
    cache: Lru[str, int] = Lru(most, weigh=lambda value: value)
    oracle: list[tuple[str, int]] = []  # the newest last
    for key, keep, value in steps:
        have = dict(oracle)
        if keep:
            cache.keep(key, value)
            oracle = [(k, v) for k, v in oracle if k != key] + [(key, value)]
            while sum(v for _, v in oracle) > most and len(oracle) > 1:
                oracle.pop(0)
        else:
            assert cache.find(key) == have.get(key)
            if key in have:
                oracle = [(k, v) for k, v in oracle if k != key] + [(key, have[key])]
        assert len(cache) == len(oracle)
    assert all(cache.find(key) == value for key, value in oracle)


def test_without_a_weight_values_are_counted() -> None:
    cache: Lru[int, str] = Lru(2)
    for key in (1, 2, 3):
        cache.keep(key, "value")
    assert [cache.find(key) for key in (1, 2, 3)] == [None, "value", "value"]


def test_what_two_ask_for_at_once_is_made_once_and_holds_up_no_other_key() -> None:
    cache: Lru[str, str] = Lru(10)
    making, go_on, calls = Event(), Event(), []

    def slowly() -> str:
        calls.append(1)
        making.set()
        assert go_on.wait(SOON_S)
        return "slow"

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cache.get, "a", slowly) for _ in range(2)]
        assert making.wait(SOON_S)
        assert pool.submit(cache.get, "b", lambda: "fast").result(SOON_S) == "fast"
        go_on.set()
        assert [one.result(SOON_S) for one in asked] == ["slow", "slow"]
    assert len(calls) == 1
    assert cache._turns == {}


def test_what_could_not_be_made_is_made_by_the_next() -> None:
    cache: Lru[str, str] = Lru(10)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: str(1 / 0))
    assert cache.get("a", lambda: "made") == "made"
    assert cache._turns == {}
