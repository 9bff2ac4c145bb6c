"""`python -m tests.torture [--runs 200] [--seed N]`: the long form of the kill loop."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.torture.kill_loop import kill_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kill_loop(Path(folder), runs=options.runs, seed=options.seed)
    sys.stderr.write(f"{options.runs} kills, nothing acknowledged was lost\n")


if __name__ == "__main__":
    main()
