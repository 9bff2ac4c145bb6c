"""Do database, vectors and index agree?

Dimension key   N rows, D embedding
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.collection import DATABASE, VECTORS
from indexer.database import Connection, Database
from indexer.errors import CorruptStoreError, NotFoundError
from indexer.snapshots import SnapshotStore
from indexer.vectors import VectorFile

BLOCK = 65_536
UNIT_TOLERANCE = 5e-3  # of the length of a unit vector after rounding to float16


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is stable; `where` is a file or a collection; `message` says what is wrong."""

    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """`checked` counts what was looked at. A leftover of an interrupted write is not a problem."""

    problems: list[Problem]
    checked: Mapping[str, int]


def verify(data_dir: Path, *, full: bool) -> VerifyReport:
    """Check a data directory without changing it; with `full`, read every vector as well.

    Raises:
        NotFoundError: There is no database.
    """
    path = data_dir / DATABASE
    if not path.is_file():
        raise NotFoundError(f"{data_dir} holds no Kallos data: {DATABASE} is missing")
    checked = {"collections": 0, "images": 0, "vectors": 0}
    try:
        problems = list(_problems(data_dir, path, full, checked))
    except CorruptStoreError as error:
        problems = [Problem("database_damaged", str(path), str(error))]
    return VerifyReport(problems, checked)


def _problems(data_dir: Path, path: Path, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    database = Database(path)
    try:
        with database.read() as connection:
            pragma = "PRAGMA integrity_check" if full else "PRAGMA quick_check"
            for (line,) in connection.execute(pragma):
                if line != "ok":
                    yield Problem("database_damaged", str(path), str(line))
            rows = connection.execute("SELECT name, model_id, dim, slots FROM collection").fetchall()
            for name, model_id, dim, slots in rows:
                checked["collections"] += 1
                yield from _slots(connection, name, slots, checked)
                yield from _vectors(data_dir / name / VECTORS, dim, slots, full, checked)
                yield from _index(data_dir / name, model_id, dim, slots)
    finally:
        database.close()


def _slots(connection: Connection, name: str, slots: int, checked: dict[str, int]) -> Iterator[Problem]:
    """Each published slot belongs to exactly one image, or is a tombstone."""
    taken = np.zeros(slots, np.int64)
    images = 0
    for table in ("image", "tombstone"):
        statement = f"SELECT slot FROM {table} WHERE collection = ?"  # noqa: S608 - two constants
        for (slot,) in connection.execute(statement, (name,)):
            images += table == "image"
            if 0 <= slot < slots:
                taken[slot] += 1
            else:
                yield Problem("slot_out_of_range", name, f"{table} refers to slot {slot} of {slots}")
    checked["images"] += images
    for code, wrong in (("slot_lost", taken == 0), ("slot_taken_twice", taken > 1)):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            yield Problem(code, name, f"{int(wrong.sum())} slots, the first is {first}")


def _vectors(path: Path, dim: int, slots: int, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    try:
        rows_ND = VectorFile(path, dim).read(slots)
    except CorruptStoreError as error:
        yield Problem("vectors_missing", str(path), str(error))
        return
    if not full:
        return
    for start in range(0, slots, BLOCK):
        block = rows_ND[start : start + BLOCK].astype(np.float32)
        length_N = np.linalg.norm(block, axis=1)
        wrong = np.flatnonzero(~(np.abs(length_N - 1) <= UNIT_TOLERANCE))  # also catches NaN
        if len(wrong):
            message = f"slot {start + int(wrong[0])} has length {length_N[wrong[0]]:g}: expected 1"
            yield Problem("vector_damaged", str(path), message)
        checked["vectors"] += len(block)


def _index(folder: Path, model_id: str, dim: int, slots: int) -> Iterator[Problem]:
    snapshots = SnapshotStore(folder)
    try:
        manifest = snapshots.manifest()
        snapshots.check(manifest)
    except FileNotFoundError:
        return
    except CorruptStoreError as error:
        yield Problem("index_damaged", str(folder), f"{error}; `kallos compact` builds it anew")
        return
    if (manifest.model_id, manifest.dim) != (model_id, dim) or manifest.built > slots:
        yield Problem("index_foreign", str(folder), "the index was built for other vectors")
