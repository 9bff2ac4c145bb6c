"""Files that are either whole or not there, also after a power cut."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from indexer.errors import StoreError

CHUNK = 1 << 20


@contextmanager
def writing(path: Path, *, beside: Path | None = None) -> Iterator[None]:
    """A block that writes `path`: a disk that is full or cannot be written is a StoreError that names it.

    `beside` is what the block fills before it has its name, a file or a folder: nothing is left of it.
    """
    try:
        yield
    except (OSError, StoreError) as error:
        if beside is not None:
            remove(beside)
        if isinstance(error, StoreError):  # of a file within, which says more
            raise
        reason = error.strerror or str(error)
        if error.filename is not None and Path(os.fsdecode(error.filename)) not in (path, beside):
            reason += f" ({os.fsdecode(error.filename)})"  # what was read for it, perhaps
        raise StoreError(f"cannot write {path}: {reason}") from error


DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def disk_error(error: OSError) -> StoreError | None:
    """For the outermost caller: what a disk says where no `writing` was; None when it is no disk's fault."""
    if error.errno not in DISK:
        return None
    where = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
    return StoreError(f"cannot write{where}: {error.strerror}")


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
    """Make `path` hold `text`, durably and at once; `before` is called when the new file lies beside.

    Raises StoreError: it cannot be written; `path` is as it was.
    """
    beside = path.with_name(path.name + ".part")
    with writing(path, beside=beside):
        beside.write_text(text, "utf-8")
        sync_file(beside)
        before()
        beside.replace(path)
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """A file or a folder, as far as it goes: this is for what nobody will miss."""
    if path.is_dir():
        remove_tree(path)
    else:
        with suppress(OSError):
            path.unlink()


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
