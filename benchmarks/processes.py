"""What processes cost: CPU seconds and memory, children included. psutil is loaded for servers only."""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall and CPU seconds of this process and of its children that have ended."""

    wall_s: float
    cpu_s: float

    @classmethod
    def start(cls) -> "Clock":
        return cls(time.perf_counter(), _cpu_s())

    def read(self) -> "Clock":
        """Since the start."""
        return Clock(time.perf_counter() - self.wall_s, _cpu_s() - self.cpu_s)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def cpu_s_of(server: int) -> float:
    """CPU seconds of a running process and of its children, those that have ended included."""
    total = 0.0
    for process in _family(server):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def resident_mb(servers: Sequence[int] = ()) -> float:
    """Memory beside the page cache of this process, of `servers` and of their children.

    Anonymous pages add up; what processes share (PostgreSQL's buffers) counts once.
    """
    pids = [os.getpid(), *(process.pid for server in servers for process in _family(server))]
    private_kb, shared_kb = 0, 0
    for pid in dict.fromkeys(pids):
        with suppress(OSError, KeyError):  # one that has just ended, or waits to be reaped
            fields = dict(
                line.split(":")
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            private_kb += int(fields["RssAnon"].split()[0])
            shared_kb = max(shared_kb, int(fields["RssShmem"].split()[0]))
    return (private_kb + shared_kb) / 1024


def _family(server: int) -> list[Any]:
    import psutil

    parent = psutil.Process(server)
    return [parent, *parent.children(recursive=True)]


@contextmanager
def confined(cores: int) -> Iterator[None]:
    """Run on the first `cores` cores only, and start processes that do so too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
