"""A breaker that is told the time."""

from rerank.rephrase.breaker import Breaker


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Hand) -> Breaker:
    breaker = Breaker(failures=3, cool_down_s=30, clock=clock)
    for _ in range(3):
        assert breaker.admits()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(failures=3, cool_down_s=30, clock=Hand())
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    states = []
    for _ in range(3):
        breaker.failed()
        states.append(breaker.state)
    assert states == ["closed", "closed", "open"]
    assert not breaker.admits()


def test_after_the_cool_down_one_tries_for_all() -> None:
    clock = Hand()
    breaker = opened(clock)
    clock.now = 29.9
    assert not breaker.admits()
    clock.now = 30.0
    assert breaker.state == "half_open"
    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_a_trial_that_succeeds_closes_it() -> None:
    clock = Hand()
    breaker = opened(clock)
    clock.now = 31.0
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert all(breaker.admits() for _ in range(3))


def test_a_trial_that_fails_opens_it_for_another_cool_down() -> None:
    clock = Hand()
    breaker = opened(clock)
    clock.now = 31.0
    assert breaker.admits()
    breaker.failed()
    clock.now = 60.0
    assert breaker.state == "open"
    clock.now = 61.0
    assert breaker.admits()
