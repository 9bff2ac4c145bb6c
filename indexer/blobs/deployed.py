"""Which generator is in service: folders that are written once, and a small file that says which is in force.

DATA_DIR/generators/ID/            what serving needs of one generator, with manifest.json
DATA_DIR/generators/current.json   those that were put in service, the last one in force; what was done when

A folder is filled beside, synced and renamed before current.json names it, and current.json is replaced by
rename: whenever the process is killed, the one before or the new one serves. Nothing here knows what is in a
folder: that is `rerank.generate.tuned.run`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from indexer.disk.faults import reached
from indexer.disk.files import (
    remove,
    remove_tree,
    replace_text,
    sha256_of_file,
    sync_file,
    sync_folder,
    writing,
)
from indexer.disk.lock import WriterLock
from indexer.errors import ConflictError, CorruptStoreError
from indexer.types import JSONValue

FOLDER = "generators"
CURRENT = "current.json"
MANIFEST = "manifest.json"
PART = ".part"  # ends the name of what is not whole yet
FORMAT = 1
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")


@dataclass(frozen=True, slots=True)
class InService:
    """`ids` were put in service one after the other; the last is in force, without any the usual generator.

    `log` holds one object for each change: `at`, `did` ("use" or "rollback"), `id`, and what else was said.
    """

    ids: tuple[str, ...] = ()
    log: tuple[Mapping[str, JSONValue], ...] = ()

    @property
    def current(self) -> str | None:
        return self.ids[-1] if self.ids else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds: `files` map a path below it to its size and SHA-256; `facts` are the caller's."""

    files: Mapping[str, tuple[int, str]]
    facts: Mapping[str, JSONValue]


class DeployedStore:
    """Reading needs no lock, and writes nothing: a folder that is missing is empty."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / FOLDER

    def held(self) -> AbstractContextManager[None]:
        """The turn to change it. BusyError names the process that has it."""
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        return WriterLock(self.root / "lock").held()

    def folder(self, id_: str) -> Path:
        return self.root / id_

    def state(self) -> InService:
        """Raises CorruptStoreError: current.json is not what was written."""
        path = self.root / CURRENT
        try:
            return parse_state(path.read_text("utf-8"), path)
        except FileNotFoundError:
            return InService()

    def manifest(self, id_: str) -> Manifest:
        """Raises CorruptStoreError: it is missing or damaged."""
        path = self.folder(id_) / MANIFEST
        try:
            found = json.loads(path.read_text("utf-8"))
            files = {
                str(name): (int(one["size"]), str(one["sha256"])) for name, one in found["files"].items()
            }
            return Manifest(files, dict(found["facts"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptStoreError(f"{path}: not the manifest of a generator: {error!r}") from error

    def put(self, id_: str, fill: Callable[[Path], None], facts: Mapping[str, JSONValue]) -> Path:
        """The folder called `id_`, made where it is missing or damaged. Call it inside `held`.

        Args:
            id_: Says by itself what is in it: two different contents never share one.
            fill: Writes the files into the empty folder that it is given.
            facts: Kept in the manifest.

        Raises StoreError: the disk is full or cannot be written; nothing is left in place.
        """
        assert ID.fullmatch(id_), id_
        folder = self.folder(id_)
        if folder.is_dir() and not list(self._damages(id_, full=True)):
            return folder
        for leftover in self.root.glob(f"*{PART}"):  # of a process that was killed
            remove(leftover)
        beside = self.root / f"{id_}{PART}"
        with writing(folder, beside=beside):
            beside.mkdir(parents=True)
            fill(beside)
            _write_manifest(beside, facts)
            reached("generator-filled")
            _sync_tree(beside)
            remove_tree(folder)  # only where it was damaged
            beside.replace(folder)
            sync_folder(self.root)
        reached("generator-stored")
        return folder

    def use(self, id_: str, **said: JSONValue) -> None:
        """Put `id_` in force; `said` goes into the log. Call it inside `held`."""
        state = self.state()
        ids = state.ids if state.current == id_ else (*state.ids, id_)
        self._write(ids, state, {"did": "use", "id": id_, **said})

    def before(self) -> InService:
        """What a rollback would put in force. Raises ConflictError: there is nothing to go back from."""
        state = self.state()
        if not state.ids:
            raise ConflictError("no generator was put in service here: there is none to go back from")
        return InService(state.ids[:-1])

    def rollback(self) -> str | None:
        """Put the one before in force and return it; None is the usual generator. Call it inside `held`.

        Raises ConflictError: there is none before.
        """
        state, before = self.state(), self.before()
        if before.current is not None:
            self.check(before.current)
        self._write(before.ids, state, {"did": "rollback", "id": state.ids[-1]})
        return before.current

    def check(self, id_: str) -> None:
        """Raises CorruptStoreError: a file of it is missing or has another size."""
        for path, message in self._damages(id_, full=False):
            raise CorruptStoreError(f"{path}: {message}")

    def damages(self, *, full: bool) -> Iterator[tuple[Path, str]]:
        """What is wrong with the generators that are, or can again be, in force; `full` reads every byte."""
        for id_ in dict.fromkeys(self.state().ids):
            yield from self._damages(id_, full=full)

    def _damages(self, id_: str, *, full: bool) -> Iterator[tuple[Path, str]]:
        try:
            manifest = self.manifest(id_)
        except CorruptStoreError as error:
            yield self.folder(id_), str(error)
            return
        for name, (size, sha256) in manifest.files.items():
            path = self.folder(id_) / name
            if not path.is_file():
                yield path, "the file is not there"
            elif path.stat().st_size != size or (full and sha256_of_file(path) != sha256):
                yield path, "the file is not what was put in service"

    def _write(self, ids: tuple[str, ...], state: InService, entry: dict[str, JSONValue]) -> None:
        log = [*state.log, {"at": time.time(), **entry}]
        document = {"format": FORMAT, "ids": list(ids), "log": log}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        replace_text(self.root / CURRENT, text, before=lambda: reached("generator-written"))
        reached("generator-in-force")


def parse_state(text: str, path: Path) -> InService:
    """What a current.json says; `path` is for the message. Raises CorruptStoreError."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT or not all(ID.fullmatch(id_) for id_ in found["ids"]):
            raise ValueError(f"format {found['format']} with {found['ids']}")
        return InService(tuple(found["ids"]), tuple(found["log"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path}: does not say which generator is in service: {error!r}") from error


def _write_manifest(folder: Path, facts: Mapping[str, JSONValue]) -> None:
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    document = {"format": FORMAT, "files": files, "facts": dict(facts)}
    (folder / MANIFEST).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    sync_folder(folder)
