"""The long runs.

python -m tests.torture [--runs 200] [--operations 100000] [--seed N]
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from indexer.disk.faults import POINTS
from tests.torture.kill_loop import kill_loop
from tests.torture.model_run import ModelRun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="kills")
    parser.add_argument("--operations", type=int, default=100_000, help="compared with NumPy and a dict")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    sys.stderr.write(f"seed {options.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        points = [*POINTS, *[None] * options.runs][: options.runs]
        kill_loop(Path(folder), points, seed=options.seed)
    sys.stderr.write(f"{options.runs} kills, nothing acknowledged was lost\n")
    with tempfile.TemporaryDirectory() as folder:
        ModelRun(Path(folder), options.seed).run(options.operations)
    sys.stderr.write(f"{options.operations} operations, all as NumPy and a dict have them\n")


if __name__ == "__main__":
    main()
