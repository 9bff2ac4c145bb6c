"""What a collection was made with: the id of its model, and the name that loads it again.

The name is a column of table `collection`. It used to be the file `model` in the collection's folder, which
is still read: the column takes it over when the collection is opened next.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from indexer.collection.collection import DATABASE
from indexer.errors import CorruptStoreError
from indexer.tables.collections import State, model_of, names
from indexer.tables.database import Connection, Database

FILE = "model"


@dataclass(frozen=True, slots=True)
class MadeWith:
    """`model` is what `load_encoder` takes; None: nothing says it."""

    model_id: str
    dim: int
    model: str | None


def find_made_with(data_dir: Path, collection: str) -> MadeWith | None:
    """None where there is no such collection. Nothing is made.

    Raises CorruptStoreError: it has vectors, but the database that knows them is gone: a collection that
    begins again would write over them.
    """
    path = data_dir / DATABASE
    if path.is_file():
        with closing(Database(path)) as database, database.read() as connection:
            if collection in names(connection):
                state = State.read(connection, collection)
                name = encoder_name(connection, collection, data_dir) or None
                return MadeWith(state.model_id, state.dim, name)
    if any((data_dir / collection).glob("vectors*.f16")):
        folder = data_dir / collection
        raise CorruptStoreError(
            f"{folder} holds vectors that {path} does not know: restore a backup, or move that folder away"
        )
    return None


def encoder_name(connection: Connection, collection: str, data_dir: Path) -> str | None:
    """The name that loads the collection's encoder, "" where it was made without one; None: it is lost."""
    stored = model_of(connection, collection)
    return _in_file(data_dir / collection / FILE) if stored is None else stored


def _in_file(path: Path) -> str | None:
    """A file without a name counts as none."""
    try:
        return path.read_text("utf-8").strip() or None
    except (FileNotFoundError, UnicodeDecodeError):  # the second: a disk that filled it with anything
        return None
