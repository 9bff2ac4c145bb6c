"""Answers on disk, one small file each: safe with threads and processes, and free to lose."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from indexer.disk.files import writing
from indexer.errors import StoreError
from rerank.rephrase.types import WrittenVariant

MOST_ENTRIES = 10_000  # some 40 MB in blocks of a file system
PRUNE_SHARE = 32  # one write in most / 32 looks at every file, which costs some milliseconds


def cache_key(model_id: str, variant: WrittenVariant, version: int, query: str) -> str:
    """Equal for equal questions only: the parts cannot run into each other."""
    parts = (model_id, variant, str(version), query)
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


class AnswerCache:
    """Keeps what models wrote. A damaged entry counts as missing, a folder that takes no files as empty."""

    def __init__(self, folder: Path, *, most_entries: int = MOST_ENTRIES) -> None:
        self._folder = folder
        self._most = most_entries
        self._every = max(1, most_entries // PRUNE_SHARE)
        self._writes = 0

    def get(self, key: str) -> str | None:
        path = self._folder / key
        try:
            checksum, _, answer = path.read_bytes().partition(b"\n")
            if checksum != _checksum(answer):
                path.unlink(missing_ok=True)
                return None
            os.utime(path)  # who was asked for lately is kept the longest
            return answer.decode()
        except OSError:
            return None

    def put(self, key: str, answer: str) -> None:
        data = answer.encode()
        path = self._folder / key
        beside = self._folder / f"{key}.{secrets.token_hex(8)}.part"
        # A full disk costs a second question, not the search.
        with contextlib.suppress(StoreError), writing(path, beside=beside):
            self._folder.mkdir(parents=True, exist_ok=True)
            beside.touch(0o600)  # what people look for is nobody else's
            beside.write_bytes(_checksum(data) + b"\n" + data)
            beside.replace(path)
            self._writes += 1
            if self._writes % self._every == 1 % self._every:  # also the first: commands write only once
                self._prune()

    def _prune(self) -> None:
        """Forget those that were not asked for the longest; other processes may do the same meanwhile."""
        aged: list[tuple[float, str]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    aged.append((entry.stat().st_mtime, entry.path))
        for _, path in sorted(aged)[: max(0, len(aged) - self._most)]:
            Path(path).unlink(missing_ok=True)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
