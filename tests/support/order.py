"""In which order a process makes things durable: fsync, rename and COMMIT, with the files as they are then.

A killed process keeps the page cache, so only the order itself can show that a power cut would lose nothing.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

State = tuple[int, int, int]
"""Inode, size and time of the last change."""


def state_of(path: Path) -> State:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass
class Order:
    """What happened below `root`, in order: ("fsync", name), ("rename", name), ("commit", "")."""

    root: Path
    events: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _synced: dict[int, State] = field(default_factory=dict)  # by inode
    _unsynced_folders: dict[Path, str] = field(default_factory=dict)

    def synced(self, path: Path) -> None:
        if self.root not in (path, *path.parents):
            return
        self.events.append(("fsync", str(path.relative_to(self.root))))
        if path.is_dir():
            self._unsynced_folders.pop(path, None)
        else:
            state = state_of(path)
            self._synced[state[0]] = state

    def renamed(self, source: Path, target: Path, before: State, *, is_folder: bool) -> None:
        if self.root not in target.parents:
            return
        name = str(target.relative_to(self.root))
        self.events.append(("rename", name))
        if not is_folder and self._synced.get(before[0]) != before:
            self.faults.append(f"{name} got its name before it was on disk")
        self._unsynced_folders[target.parent] = name

    def committed(self, *data: str) -> None:
        """Every file that the rows of a transaction speak of is on disk as it is now, and so is its name."""
        self.events.append(("commit", ""))
        for pattern in data:
            for path in self.root.glob(pattern):
                state = state_of(path)
                if self._synced.get(state[0]) != state:
                    self.faults.append(f"COMMIT before {path.relative_to(self.root)} was on disk")
        self.check_folders("COMMIT")

    def check_folders(self, when: str) -> None:
        for folder, name in self._unsynced_folders.items():
            self.faults.append(f"{when} before the folder {folder.name or folder} was synced after {name}")


@contextmanager
def recorded(root: Path, *data: str) -> Iterator[Order]:
    """Watch this process; `data` are patterns of the files that a COMMIT publishes."""
    order, root = Order(root.resolve()), root.resolve()
    fsync, replace, connect = os.fsync, os.replace, sqlite3.connect

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        order.synced(Path(f"/proc/self/fd/{descriptor}").readlink())

    def watched_replace(source: Any, target: Any, **options: Any) -> None:  # noqa: ANN401
        before, is_folder = state_of(Path(source)), Path(source).is_dir()
        replace(source, target, **options)
        order.renamed(Path(source), Path(target).resolve(), before, is_folder=is_folder)

    def watched_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401
        connection = connect(*arguments, **options)
        changes: int | None = None  # before the transaction, if it is one that writes

        def trace(statement: str) -> None:
            nonlocal changes
            if statement.startswith("BEGIN"):
                changes = connection.total_changes if statement == "BEGIN IMMEDIATE" else None
            elif statement == "COMMIT" and changes is not None and connection.total_changes > changes:
                order.committed(*data)

        connection.set_trace_callback(trace)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", watched_fsync)
        patch.setattr(os, "replace", watched_replace)
        patch.setattr(sqlite3, "connect", watched_connect)
        yield order
    order.check_folders("the end")
