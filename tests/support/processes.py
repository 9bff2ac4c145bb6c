"""Programs of the tests: whatever happens to the test, none is left running."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600.0  # for what is sure to happen: how fast it does depends on what else the machine does
NOTHING: Mapping[str, str] = MappingProxyType({})


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
