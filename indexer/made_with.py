"""What a collection was made with: the id of its model, and the name that loads it again.

The name is a column of table `collection`. It used to be the file `model` in the collection's folder, which
is still read: the column takes it over when the collection is opened next.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from indexer.collection.collection import DATABASE
from indexer.tables.collections import State, model_of, names
from indexer.tables.database import Connection, Database

FILE = "model"


@dataclass(frozen=True, slots=True)
class MadeWith:
    """`model` is what `load_encoder` takes; None: nothing says it any more."""

    model_id: str
    dim: int
    model: str | None


def find_made_with(data_dir: Path, collection: str) -> MadeWith | None:
    """None where there is no such collection. Nothing is made."""
    path = data_dir / DATABASE
    if not path.is_file():
        return None
    with closing(Database(path)) as database, database.read() as connection:
        if collection not in names(connection):
            return None
        state = State.read(connection, collection)
        return MadeWith(state.model_id, state.dim, encoder_name(connection, collection, data_dir))


def encoder_name(connection: Connection, collection: str, data_dir: Path) -> str | None:
    """The name that loads the collection's encoder. A file without a name counts as none."""
    return model_of(connection, collection) or _in_file(data_dir / collection / FILE)


def _in_file(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except (FileNotFoundError, UnicodeDecodeError):  # the second: a disk that filled it with anything
        return None
