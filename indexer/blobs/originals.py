"""The encoded bytes of stored pictures, wherever they live.

Local pictures stay where they are. Uploads and generated pictures are kept by content hash in
DATA_DIR/originals/ab/abcdef….
"""

import re
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path

from indexer.disk.files import sync_file, sync_folder
from indexer.errors import NotFoundError, StoreError
from indexer.types import ImageRow

UPLOAD = "upload:"


def upload_uri(sha256: str) -> str:
    return UPLOAD + sha256


class OriginalStore:
    """Content-addressed files; written once, fsynced before anything refers to them."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "originals"

    def put(self, sha256: str, data: bytes) -> None:
        path = self.path(sha256)
        if path.exists():
            return
        # A name of its own: the same picture may arrive twice at once.
        beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            sync_file(beside)
            beside.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def drop(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def get(self, sha256: str) -> bytes:
        """What `put` stored; NotFoundError when it is gone."""
        try:
            return self.path(sha256).read_bytes()
        except OSError as error:
            raise NotFoundError(f"the file of picture {sha256} cannot be read: {error.strerror}") from error

    def read(self, row: ImageRow, fetch: Callable[[str], bytes]) -> bytes:
        """The original of `row`; NotFoundError when its file is gone, with what to do about it."""
        if row.uri.startswith(("http://", "https://")):
            return fetch(row.uri)
        try:
            if row.uri.startswith(UPLOAD):
                return self.path(row.sha256).read_bytes()
            for at in (place.start() for place in re.finditer("#", row.uri)):
                if Path(row.uri[:at]).is_file():
                    return _member(Path(row.uri[:at]), row.uri[at + 1 :])
            return Path(row.uri).read_bytes()
        except (OSError, KeyError, tarfile.TarError) as error:
            raise NotFoundError(
                f"the file of image {row.id} cannot be read any more ({row.uri}); "
                "index its folder again with --sync to follow moved and deleted files"
            ) from error

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256


def _member(shard: Path, name: str) -> bytes:
    with tarfile.open(shard) as archive:
        file = archive.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file.read()
