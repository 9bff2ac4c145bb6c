"""Many at once, or one alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rerank.generate.diffusers.gate import Gate
from tests.support.processes import PATIENCE_S


def test_those_who_share_are_inside_together() -> None:
    gate = Gate()
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def enter() -> None:
        with gate.shared():
            together.wait()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(enter) for _ in range(3)]:
            done.result()


def test_nobody_is_inside_with_one_who_is_alone() -> None:
    """A counter that only a lonely writer changes in two steps: a reader between them would see it torn."""
    gate = Gate()
    state = {"first": 0, "second": 0}
    torn = []

    def write() -> None:
        for _ in range(200):
            with gate.alone():
                state["first"] += 1
                state["second"] += 1

    def read() -> None:
        for _ in range(400):
            with gate.shared():
                if state["first"] != state["second"]:
                    torn.append(dict(state))

    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(work) for work in (write, read, read, write, read)]:
            done.result()
    assert torn == []
    assert state == {"first": 400, "second": 400}


def test_who_waits_to_be_alone_comes_before_those_who_come_later() -> None:
    gate = Gate()
    order: list[str] = []
    waiting = threading.Event()

    def alone() -> None:
        waiting.set()
        with gate.alone():
            order.append("alone")

    def later() -> None:
        with gate.shared():
            order.append("later")

    with ThreadPoolExecutor(2) as pool:
        with gate.shared():
            first = pool.submit(alone)
            waiting.wait(PATIENCE_S)
            while not gate._waiting:
                pass
            second = pool.submit(later)
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)
    assert order == ["alone", "later"]


@pytest.mark.parametrize("enter", [Gate.shared, Gate.alone])
def test_an_error_inside_opens_the_gate_again(enter) -> None:  # type: ignore[no-untyped-def]
    gate = Gate()
    with pytest.raises(ValueError, match="inside"), enter(gate):
        raise ValueError("inside")
    with gate.alone():
        pass
