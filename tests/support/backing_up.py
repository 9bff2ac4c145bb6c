"""A process that backs up without a pause until it is killed.

Usage: python -m tests.support.backing_up DATA_DIR TARGET
"""

import sys
from pathlib import Path

from indexer.collection.backup import backup


def main(data_dir: str, target: str) -> None:
    while True:
        backup(Path(data_dir), Path(target))
        sys.stdout.write("backed-up\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
