"""Small JPEGs by the content hash of their original: DATA_DIR/thumbnails/ab/abcdef….jpg.

They are a cache: losing one costs a decode, so nothing here is fsynced.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from indexer.disk.files import writing


class ThumbnailStore:
    """Content-addressed files; writing is atomic, so a reader never sees half of one."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "thumbnails"

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / f"{sha256}.jpg"

    def get(self, sha256: str) -> bytes | None:
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, sha256: str, make: Callable[[], bytes]) -> None:
        """Store what `make` returns; does not call it when the thumbnail is there.

        Raises:
            StoreError: It cannot be written, as on a full disk. Nothing is left of it.
        """
        path = self.path(sha256)
        if path.exists():
            return
        beside = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        data = make()
        with writing(path, beside=beside):
            _write(beside, data)
            beside.replace(path)

    def drop(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except FileNotFoundError:  # the first of its folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
