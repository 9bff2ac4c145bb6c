"""The lock of writers goes to who has waited longest."""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.disk.lock import Queue, Turns, WriterLock
from indexer.errors import BusyError, StoreError
from tests.support.limits import nothing_written
from tests.support.processes import program


def locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Other:
    """A process that uses a lock, and how often it has had it."""

    def __init__(self, folder: Path) -> None:
        self.lock, self._count = folder / "lock", folder / "count"
        self._count.write_bytes(bytes(8))

    @contextmanager
    def running(self, manner: str) -> Iterator[None]:
        with program("tests.support.lock_user", self.lock, self._count, manner) as process:
            while self.turns() == 0:
                assert process.poll() is None
                time.sleep(0.01)
            yield

    def turns(self) -> int:
        return int.from_bytes(self._count.read_bytes(), "little")


def test_a_thread_may_take_it_again() -> None:
    turns = Turns()
    with turns, turns:
        pass
    with turns:
        pass


def test_who_writes_without_a_pause_lets_others_in_between() -> None:
    turns, ending = Turns(), threading.Event()
    held = [0]

    def greedy() -> None:
        while not ending.is_set():
            with turns:
                held[0] += 1
                time.sleep(0.001)

    thread = threading.Thread(target=greedy)
    thread.start()
    try:
        for _ in range(20):
            time.sleep(0.003)
            before = held[0]
            with turns:
                assert held[0] <= before + 2  # the hold that was under way, and one that began as we asked
    finally:
        ending.set()
        thread.join()


def test_many_threads_count_without_losing_one() -> None:
    turns, count = Turns(), [0]

    def add() -> None:
        for _ in range(300):
            with turns, turns:
                seen = count[0]
                time.sleep(0)
                count[0] = seen + 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count[0] == 2400


def test_who_waits_in_vain_is_told_by_whom(tmp_path: Path) -> None:
    first, second = WriterLock(tmp_path / "lock"), WriterLock(tmp_path / "lock", wait_s=0.05)
    with first.held(), pytest.raises(BusyError, match="is being written by process"), second.held():
        pass
    with second.held():
        pass


def test_a_lock_that_cannot_be_written_says_why_and_is_free_afterwards(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "lock")
    with (
        nothing_written(),
        pytest.raises(StoreError, match=r"cannot write .*/lock: File too large"),
        lock.held(),
    ):
        pass
    with lock.held():
        pass
    with pytest.raises(StoreError, match="No such file"), WriterLock(tmp_path / "none" / "lock").held():
        pass


def test_a_process_that_writes_without_a_pause_lets_others_in_between(tmp_path: Path) -> None:
    other = Other(tmp_path)
    with other.running("greedy"):
        for _ in range(20):
            with other.lock.open("r+b") as file:
                queue = Queue(file.fileno())
                while not queue.try_enter():
                    time.sleep(0.0001)
                before = other.turns()
                while not (queue.is_first() and locked(file.fileno())):
                    time.sleep(0.002)
                assert other.turns() <= before + 1  # its turn that was under way, or the one before ours
            after = other.turns()
            with WriterLock(other.lock).held():
                pass
            while other.turns() == after:  # and it goes on
                time.sleep(0.0001)


def test_the_place_of_a_process_that_dies_is_free(tmp_path: Path) -> None:
    other = Other(tmp_path)
    impatient = WriterLock(other.lock, wait_s=0.05)
    with (
        other.running("holding"),
        pytest.raises(BusyError, match=r"lock_user\.py .*/lock"),
        impatient.held(),
    ):
        pass
    with WriterLock(other.lock, wait_s=0.0).held():
        pass


def test_places_are_taken_in_the_order_of_coming_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    files = [path.open("r+b") for _ in range(4)]
    queues = [Queue(file.fileno()) for file in files]
    for queue in queues:
        assert queue.try_enter()
    assert [queue.is_first() for queue in queues] == [True, False, False, False]
    files[1].close()  # gives up
    assert [queue.is_first() for queue in (queues[0], *queues[2:])] == [True, False, False]
    files[0].close()
    assert [queue.is_first() for queue in queues[2:]] == [True, False]
    for file in files[2:]:
        file.close()


def test_who_will_not_wait_any_longer_leaves_the_queue(tmp_path: Path) -> None:
    lock, asked = WriterLock(tmp_path / "lock"), threading.Event()

    def stop() -> bool:
        asked.set()
        return True

    with lock.held(), pytest.raises(BusyError), WriterLock(tmp_path / "lock", should_stop=stop).held():
        pass
    assert asked.is_set()
    with WriterLock(tmp_path / "lock", wait_s=0.0).held():
        pass
