"""One writer at a time in a data directory, whichever process it is."""

import fcntl
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from indexer.disk.files import writing
from indexer.errors import BusyError

WAIT_S = 30.0  # writes take fractions of a second: who waits this long waits for something stuck
RETRY_S = 0.02


class Turns:
    """A lock that a thread may take again while it has it, and that goes to who has waited longest.

    Python's own goes to whoever comes first after it is free, which is the thread that has just let go: one
    that writes without a pause would keep a compaction waiting for minutes.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, threading.Lock]] = deque()

    def __enter__(self) -> None:
        me, turn = threading.get_ident(), threading.Lock()
        with self._guard:
            if self._owner in (None, me):
                self._owner = me
                self._depth += 1
                return
            turn.acquire()
            self._waiting.append((me, turn))
        try:
            turn.acquire()  # released by who hands the lock over
        except BaseException:
            self._give_up((me, turn))
            raise

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._depth -= 1
            if self._depth == 0:
                self._hand_over()

    def _hand_over(self) -> None:
        if not self._waiting:
            self._owner = None
            return
        self._owner, turn = self._waiting.popleft()
        self._depth = 1
        turn.release()

    def _give_up(self, place: tuple[int, threading.Lock]) -> None:
        """An interrupted wait: leave the queue, or pass on what has been handed over meanwhile."""
        with self._guard:
            if place in self._waiting:
                self._waiting.remove(place)
            else:
                self._hand_over()


class WriterLock:
    """A lock file, held for one write. The kernel frees it when its holder dies."""

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        self._path = path
        self._wait_s = wait_s
        self._threads = Turns()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            BusyError: Another process does not let go; it is named.
            StoreError: The file cannot be written.
        """
        with self._threads:
            if self._depth:
                yield
                return
            with self._signed():
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1

    def _signed(self) -> FileIO:
        """The open file, locked, which names who holds it."""
        whose = f"process {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)[:200]}"
        with writing(self._path), ExitStack() as on_error:
            file = on_error.enter_context(self._path.open("a+b", buffering=0))
            self._acquire(file.fileno())
            file.truncate(0)
            file.write(whose.encode(errors="backslashreplace"))
            on_error.pop_all()
            return file

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    holder = self._path.read_text("utf-8", "replace") or "another process"
                    raise BusyError(f"{self._path.parent} is being written by {holder}") from error
                time.sleep(RETRY_S)
            else:
                return
