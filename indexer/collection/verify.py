"""Do database, vectors, index, generated pictures and generators agree?

Dimension key   N rows, D embedding
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.blobs.deployed import DeployedStore
from indexer.blobs.originals import OriginalStore
from indexer.collection.collection import DATABASE
from indexer.collection.index_store import IndexStore
from indexer.collection.made_with import encoder_name
from indexer.disk.files import sha256_of_file
from indexer.disk.ids import IdFile
from indexer.disk.vectors import VectorFile
from indexer.errors import CorruptStoreError, NotFoundError
from indexer.tables.collections import State, names
from indexer.tables.database import Connection, Database
from indexer.tables.images import Catalog

BLOCK = 65_536
MODEL_UNNAMED = "model_unnamed"
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
    """Check a data directory; with `full`, read every vector as well.

    A database that an older version wrote gets this version's schema; nothing else is changed.

    Raises:
        NotFoundError: There is no database.
    """
    path = data_dir / DATABASE
    if not path.is_file():
        raise NotFoundError(f"{data_dir} holds no Kallos data: {DATABASE} is missing")
    checked = {"collections": 0, "images": 0, "vectors": 0, "generations": 0, "generators": 0}
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
            for name in names(connection):
                checked["collections"] += 1
                state = State.read(connection, name)
                if encoder_name(connection, name, data_dir) is None:
                    message = f"nothing says what loads {state.model_id}: open it once with the model's name"
                    yield Problem(MODEL_UNNAMED, name, message)
                yield from _slots(connection, data_dir / name, name, state, checked)
                yield from _ids(connection, data_dir / name, name, state)
                yield from _vectors(data_dir / name, state, full, checked)
            yield from _generations(connection, data_dir, full, checked)
            collections = names(connection)
        yield from _generators(data_dir, full, checked)
        for name in collections:
            yield from _index(database, data_dir / name, name)
    finally:
        database.close()


def _slots(
    connection: Connection, folder: Path, name: str, state: State, checked: dict[str, int]
) -> Iterator[Problem]:
    """Each slot that has a row belongs to exactly one image, or is a tombstone; other slots to none."""
    try:
        slots_N = state.slot_map(folder).slots_of(np.arange(state.rows))
    except CorruptStoreError as error:
        yield Problem("slots_damaged", str(folder), str(error))
        return
    if len(slots_N) and (np.diff(slots_N).min(initial=1) < 1 or slots_N[0] < 0):
        yield Problem("slots_damaged", str(folder), "the slots of the rows are not in rising order")
        return
    taken = np.zeros(state.slots, np.int64)
    taken[slots_N] = -1
    images = 0
    for table in ("image", "tombstone"):
        statement = f"SELECT slot FROM {table} WHERE collection = ?"  # noqa: S608 - two constants
        for (slot,) in connection.execute(statement, (name,)):
            images += table == "image"
            if 0 <= slot < state.slots:
                taken[slot] += 1
            else:
                yield Problem("slot_out_of_range", name, f"{table} refers to slot {slot} of {state.slots}")
    checked["images"] += images
    for code, wrong in (("slot_lost", taken == -1), ("slot_taken_twice", taken > 0)):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            yield Problem(code, name, f"{int(wrong.sum())} slots, the first is {first}")


def _ids(connection: Connection, folder: Path, name: str, state: State) -> Iterator[Problem]:
    """The file of ids says what the database says."""
    file = IdFile(folder)
    if file.covered() < state.slots:  # filled when the collection is opened
        return
    id_N = np.array(file.read(state.slots))
    for slot, image_id in Catalog(name).ids_between(connection, 0, state.slots):
        if id_N[slot] != image_id:
            message = f"slot {slot} holds picture {id_N[slot]}: expected {image_id}; delete the file"
            yield Problem("ids_damaged", str(file.path), message)
            return


def _vectors(folder: Path, state: State, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    file = VectorFile(folder, state.dim, state.file_set)
    path = file.path
    try:
        rows_ND = file.read(state.rows)
    except CorruptStoreError as error:
        yield Problem("vectors_missing", str(path), str(error))
        return
    if not full:
        return
    for start in range(0, state.rows, BLOCK):
        block = rows_ND[start : start + BLOCK].astype(np.float32)
        length_N = np.linalg.norm(block, axis=1)
        wrong = np.flatnonzero(~(np.abs(length_N - 1) <= UNIT_TOLERANCE))  # also catches NaN
        if len(wrong):
            message = f"row {start + int(wrong[0])} has length {length_N[wrong[0]]:g}: expected 1"
            yield Problem("vector_damaged", str(path), message)
        checked["vectors"] += len(block)


def _generations(
    connection: Connection, data_dir: Path, full: bool, checked: dict[str, int]
) -> Iterator[Problem]:
    """Each generated picture has its file; with `full`, with the bytes that it was made of."""
    originals = OriginalStore(data_dir)
    for id_, sha256, size in connection.execute("SELECT id, sha256, size FROM generation ORDER BY number"):
        checked["generations"] += 1
        path = originals.path(sha256)
        if not path.is_file():
            yield Problem("picture_missing", str(path), f"the file of generated picture {id_} is not there")
        elif path.stat().st_size != size or (full and sha256_of_file(path) != sha256):
            yield Problem("picture_damaged", str(path), f"generated picture {id_} is not what was stored")


def _generators(data_dir: Path, full: bool, checked: dict[str, int]) -> Iterator[Problem]:
    """Each generator that is or was put in service has its files; with `full`, with the same bytes."""
    store = DeployedStore(data_dir)
    try:
        checked["generators"] += len(set(store.state().ids))
        for path, message in store.damages(full=full):
            yield Problem("generator_damaged", str(path), message)
    except CorruptStoreError as error:
        yield Problem("generator_damaged", str(store.root), str(error))


def _index(database: Database, folder: Path, name: str) -> Iterator[Problem]:
    """A problem is one when it is there twice: who writes may replace an index between two looks."""
    before, problem = None, _index_problem(database, folder, name)
    while problem is not None and problem != before:
        before, problem = problem, _index_problem(database, folder, name)
    if problem is not None:
        yield problem


def _index_problem(database: Database, folder: Path, name: str) -> Problem | None:
    try:
        manifest = IndexStore(folder).manifest(_state(database, name).file_set)
        manifest.check(folder)
    except FileNotFoundError:
        return None
    except CorruptStoreError as error:
        return Problem("index_damaged", str(folder), f"{error}; `kallos compact` builds it anew")
    state = _state(database, name)  # read last: what an index covers was published before it
    if (manifest.model_id, manifest.dim) != (state.model_id, state.dim) or manifest.covered > state.rows:
        return Problem("index_foreign", str(folder), "the index was built for other vectors")
    return None


def _state(database: Database, name: str) -> State:
    with database.read() as connection:
        return State.read(connection, name)
