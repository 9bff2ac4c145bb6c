"""Named points of the write path where a test may kill the process.

`KALLOS_CRASH_AT=NAME` makes the process kill itself with SIGKILL when it gets there: no handler runs, no
buffer is flushed, as when the power of the process is cut. Unset, a point costs one dictionary lookup.
"""

import os
import signal

POINTS = (
    "appended",  # vectors written, not yet fsynced
    "synced",  # vectors on disk, the transaction not begun
    "uncommitted",  # rows written, the transaction not committed
    "committed",
    "index-written",  # a new index lies beside, under its temporary name
    "index-renamed",  # it has its name, the manifest still names the old one
    "manifest-written",  # the new manifest lies beside
    "manifest-renamed",  # the new index is in force, the old one not yet removed
    "segment-written",  # a segment lies beside, under its temporary name
    "segment-renamed",  # it has its name, the manifest does not know it
    "segment-listed",  # it is in force, those that it has taken up are not yet removed
    "file-set-copied",  # live rows and their slots lie in the next file set's files
    "file-set-caught-up",  # with its index and everything that was added meanwhile
    "backup-copied",  # a backup lies whole beside the database of the one before
    "file-set-begun",  # the transaction that changes over is committed, the old files not yet removed
)
GENERATOR_POINTS = (
    "generator-filled",  # a tuned generator lies whole beside, not yet fsynced
    "generator-stored",  # it has its name; the one before is in force
    "generator-written",  # what says which is in force lies beside
    "generator-in-force",
)


def reached(point: str) -> None:
    """Die here if asked to."""
    if os.environ.get("KALLOS_CRASH_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
