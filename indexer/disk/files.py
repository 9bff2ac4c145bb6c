"""Files that are either whole or not there, also after a power cut."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

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


def replace_text(path: Path, text: str, *, before: Callable[[], None] = lambda: None) -> None:
    """Make `path` hold `text`, durably and at once; `before` is called when the new file lies beside."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, "utf-8")
    sync_file(beside)
    before()
    beside.replace(path)
    sync_folder(path.parent)


def remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files below a folder; 0 when it is not there."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for inner in path.rglob("*"):
        with suppress(FileNotFoundError):  # removed or renamed while we look
            status = inner.stat()
            total += status.st_size if S_ISREG(status.st_mode) else 0
    return total
