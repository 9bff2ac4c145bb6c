"""Programs of the tests: whatever happens to the test, none is left running."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PATIENCE_S = 600.0  # a deadline that no test is meant to reach, however busy the machine is
QUIET_S = 30.0  # what happens soon happens within these seconds on a machine that does nothing else
NOTHING: Mapping[str, str] = MappingProxyType({})


def unmeasured() -> dict[str, str]:
    """The environment of a program that coverage does not follow: it imports and writes files of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@contextmanager
def started(
    command: Sequence[str | Path],
    **options: Any,  # noqa: ANN401 - those of Popen
) -> Iterator["subprocess.Popen[bytes]"]:
    """The program as Popen starts it; killed when the block ends."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def program(
    module: str, *arguments: object, environment: Mapping[str, str] = NOTHING
) -> Iterator["subprocess.Popen[str]"]:
    """`python -m MODULE ARGUMENTS`, its output in a pipe; killed when the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | dict(environment),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(look: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """What `look` sees once it is enough, or when it has not been for long."""
    begun = time.monotonic()
    while not enough(seen := look()) and time.monotonic() - begun < QUIET_S * slowness():
        time.sleep(0.02)
    return seen


def slowness() -> float:
    """How many times longer things take than on a machine that does nothing else."""
    return max(1.0, 2 * os.getloadavg()[0] / len(os.sched_getaffinity(0)))
