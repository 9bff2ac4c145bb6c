"""Writes the recorded values that some tests compare with: `python -m tests.golden`.

Nothing else writes them. A changed file is argued for in its commit message.
"""

import sys

from tests.golden import preprocess

WRITERS = (preprocess.write,)


def main() -> int:
    for write in WRITERS:
        sys.stdout.write(f"{write()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
