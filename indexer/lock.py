"""One writer at a time in a data directory, whichever process it is."""

import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import BusyError

WAIT_S = 30.0  # writes take fractions of a second: who waits this long waits for something stuck
RETRY_S = 0.02


class WriterLock:
    """A lock file, held for one write. The kernel frees it when its holder dies."""

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        self._path = path
        self._wait_s = wait_s
        self._threads = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; BusyError names the process that does not let go."""
        with self._threads:
            if self._depth:
                yield
                return
            with self._path.open("a+") as file:
                self._acquire(file.fileno())
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)[:200]}")
                file.flush()
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    holder = self._path.read_text() or "another process"
                    raise BusyError(f"{self._path.parent} is being written by {holder}") from error
                time.sleep(RETRY_S)
            else:
                return
