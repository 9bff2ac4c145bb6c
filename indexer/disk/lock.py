"""One writer at a time in a data directory, whichever process it is, and first come, first served.

Threads of one process queue in `Turns`, processes in `Queue`: the kernel's own lock is a queue for neither.
"""

import fcntl
import os
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from indexer.disk.files import writing
from indexer.errors import BusyError

WAIT_S = 30.0  # writes take fractions of a second: who waits this long waits for something stuck
RETRY_S = 0.002  # a look takes microseconds, and between two looks nobody writes
FLOCK = "hhqqi"  # struct flock: type, whence, start, length, process
GUARD = 1 << 62  # the byte that who takes a place holds meanwhile
GUARD_WAIT_S = 5.0  # it is held for microseconds, also by who will not wait for its turn


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


class Queue:
    """First come, first served between processes: a place in it is a locked byte of the file.

    Who comes locks the byte behind the last one that is locked, and it is their turn once no byte before
    theirs is locked any more. The kernel unlocks a byte when its process dies or closes the file, so the
    dead hold nobody up. Without it the lock goes to whoever asks first after it is free: a process that
    writes without a pause asks microseconds later, and one that looks every few milliseconds starves.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0

    def try_enter(self) -> bool:
        """Take the place behind all others; False while somebody else is about to."""
        if not self._try_lock(GUARD):
            return False
        try:
            while (taken := self._first_locked(self._place, GUARD)) is not None:
                self._place = taken + 1
            return self._try_lock(self._place)
        finally:
            self._set(fcntl.F_UNLCK, GUARD)

    def is_first(self) -> bool:
        return self._place == 0 or self._first_locked(0, self._place) is None

    def _first_locked(self, start: int, end: int) -> int | None:
        """The first byte from `start` that another holds, if one before `end` is."""
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
        kind, _, found, *_ = struct.unpack(FLOCK, fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(found)

    def _try_lock(self, byte: int) -> bool:
        try:
            self._set(fcntl.F_WRLCK, byte)
        except BlockingIOError:
            return False
        return True

    def _set(self, kind: int, byte: int) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, struct.pack(FLOCK, kind, os.SEEK_SET, byte, 1, 0))


class WriterLock:
    """A lock file, held for one write. The kernel frees it when its holder dies.

    Who asks waits `wait_s` at most, and no longer than `should_stop` lets it.
    """

    def __init__(
        self, path: Path, *, wait_s: float = WAIT_S, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._path = path
        self._wait_s = wait_s
        self._should_stop = should_stop
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
        """Queue, then take the kernel's lock: versions before the queue hold only that."""
        queue, asked = Queue(descriptor), time.monotonic()
        self._wait(queue.try_enter, asked + max(self._wait_s, GUARD_WAIT_S))
        self._wait(lambda: queue.is_first() and _try_flock(descriptor), asked + self._wait_s)

    def _wait(self, has_come: Callable[[], bool], deadline: float) -> None:
        while not has_come():
            if time.monotonic() >= deadline or self._should_stop():
                holder = self._path.read_text("utf-8", "replace") or "another process"
                raise BusyError(f"{self._path.parent} is being written by {holder}")
            time.sleep(RETRY_S)


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
