"""A process that uses a lock file until it is killed.

Usage: python -m tests.support.lock_user LOCK COUNT greedy|holding

`greedy` takes the lock again as soon as it has let go, `holding` takes it once and never lets go. COUNT is a
file of one number: how often it has taken the lock.
"""

import sys
import threading
import time
from pathlib import Path

from indexer.disk.lock import WriterLock


def main(lock_path: str, count_path: str, manner: str) -> None:
    lock, count = WriterLock(Path(lock_path)), Path(count_path)
    with count.open("r+b", buffering=0) as out:
        for number in range(1, sys.maxsize):
            with lock.held():
                out.seek(0)
                out.write(number.to_bytes(8, "little"))
                if manner == "holding":
                    threading.Event().wait()
                time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:])
