"""The lock of writers goes to who has waited longest."""

import threading
import time
from pathlib import Path

import pytest

from indexer.disk.lock import Turns, WriterLock
from indexer.errors import BusyError, StoreError
from tests.support.limits import nothing_written


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
