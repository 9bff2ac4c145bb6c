"""Files that are either whole or not there, also after a power cut."""

import hashlib
import os
from pathlib import Path

CHUNK = 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: fsync of a file does not do that for a new or renamed one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
