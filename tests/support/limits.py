"""What the kernel refuses this process for a while, so that a full disk needs no disk and no root."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_written() -> Iterator[None]:
    """Whoever writes to a file gets "File too large" from the kernel."""
    with _limited(resource.RLIMIT_FSIZE, 0):
        yield


@contextmanager
def nothing_opened() -> Iterator[None]:
    """Whoever opens a file gets "Too many open files" from the kernel."""
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    with _limited(resource.RLIMIT_NOFILE, lowest_free):
        yield


@contextmanager
def _limited(what: int, most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))
