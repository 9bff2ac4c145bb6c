"""Where a collection stands: its row in table `collection`, and every statement about it."""

import time
from dataclasses import dataclass
from pathlib import Path

from indexer.disk.slots import SlotMap
from indexer.disk.vectors import of_file_set
from indexer.errors import NotFoundError
from indexer.tables.database import Connection

READ = "SELECT model_id, dim, slots, generation, epoch, kept_rows, next_slot FROM collection WHERE name = ?"


@dataclass(frozen=True, slots=True)
class State:
    """`slots` are published, `generation` grows with every change; the rest is in `indexer.disk.slots`."""

    model_id: str
    dim: int
    slots: int
    generation: int
    file_set: int
    kept_rows: int
    next_slot: int

    @classmethod
    def read(cls, connection: Connection, name: str) -> "State":
        row = connection.execute(READ, (name,)).fetchone()
        if row is None:
            raise NotFoundError(f"collection {name!r} does not exist")
        return cls(*row)

    @property
    def rows(self) -> int:
        """Published rows of the file set's file."""
        return self.kept_rows + self.slots - self.next_slot

    def slot_map(self, folder: Path) -> SlotMap:
        return SlotMap.load(folder / of_file_set("slots.i64", self.file_set), self.kept_rows, self.next_slot)


def names(connection: Connection) -> list[str]:
    """Of all collections."""
    return [name for (name,) in connection.execute("SELECT name FROM collection ORDER BY name")]


def birth(connection: Connection, name: str) -> float:
    """When the collection was made, in seconds since 1970: no two have the same."""
    (created_at,) = connection.execute("SELECT created_at FROM collection WHERE name = ?", (name,)).fetchone()
    return float(created_at)


def create(connection: Connection, name: str, model_id: str, dim: int, model: str | None) -> None:
    """Make the collection unless it is there. `model` loads its encoder again: kept where nothing is yet."""
    connection.execute(
        "INSERT OR IGNORE INTO collection (name, model_id, dim, created_at, model) VALUES (?, ?, ?, ?, ?)",
        (name, model_id, dim, time.time(), model or ""),
    )
    if model is not None:
        connection.execute(
            "UPDATE collection SET model = ? WHERE name = ? AND model_id = ? AND coalesce(model, '') = ''",
            (model, name, model_id),
        )


def model_of(connection: Connection, name: str) -> str | None:
    """What loads the collection's encoder again. "": whoever made it loads it by other means. None: lost."""
    (model,) = connection.execute("SELECT model FROM collection WHERE name = ?", (name,)).fetchone()
    return None if model is None else str(model)


def advance(connection: Connection, name: str, *, slots: int | None = None) -> int:
    """Begin a new generation, and publish `slots` when given; the new generation."""
    (generation,) = connection.execute(
        "UPDATE collection SET generation = generation + 1, slots = coalesce(?, slots) WHERE name = ?"
        " RETURNING generation",
        (slots, name),
    ).fetchone()
    return int(generation)


def begin_file_set(
    connection: Connection, name: str, *, file_set: int, kept_rows: int, next_slot: int
) -> None:
    """From here on rows are those of the new file set's file."""
    connection.execute(
        "UPDATE collection SET generation = generation + 1, epoch = ?, kept_rows = ?, next_slot = ?"
        " WHERE name = ?",
        (file_set, kept_rows, next_slot, name),
    )
