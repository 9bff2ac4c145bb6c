"""Many at once, or one alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rerank.generate.diffusers.read_write_lock import ReadWriteLock
from tests.support.processes import PATIENCE_S


def test_readers_are_inside_together() -> None:
    lock = ReadWriteLock()
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def enter() -> None:
        with lock.read():
            together.wait()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(enter) for _ in range(3)]:
            done.result()


def test_no_reader_is_inside_with_a_writer() -> None:
    """A counter that only the writer changes in two steps: a reader between them would see it torn."""
    lock = ReadWriteLock()
    state = {"first": 0, "second": 0}
    torn = []

    def write() -> None:
        for _ in range(200):
            with lock.write():
                state["first"] += 1
                state["second"] += 1

    def read() -> None:
        for _ in range(400):
            with lock.read():
                if state["first"] != state["second"]:
                    torn.append(dict(state))

    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(work) for work in (write, read, read, write, read)]:
            done.result()
    assert torn == []
    assert state == {"first": 400, "second": 400}


def test_a_waiting_writer_comes_before_later_readers() -> None:
    lock = ReadWriteLock()
    order: list[str] = []
    waiting = threading.Event()

    def write() -> None:
        waiting.set()
        with lock.write():
            order.append("writer")

    def read() -> None:
        with lock.read():
            order.append("reader")

    with ThreadPoolExecutor(2) as pool:
        with lock.read():
            first = pool.submit(write)
            waiting.wait(PATIENCE_S)
            while not lock._waiting:
                pass
            second = pool.submit(read)
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)
    assert order == ["writer", "reader"]


@pytest.mark.parametrize("enter", [ReadWriteLock.read, ReadWriteLock.write])
def test_an_error_inside_releases_the_lock(enter) -> None:  # type: ignore[no-untyped-def]
    lock = ReadWriteLock()
    with pytest.raises(ValueError, match="inside"), enter(lock):
        raise ValueError("inside")
    with lock.write():
        pass
