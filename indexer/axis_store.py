"""Rank axes as rows: a direction, where it came from, and how far to trust it."""

import json
import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.database import Database
from indexer.errors import UnknownAxisError
from indexer.types import JSONValue

AxisKind = Literal["linear", "field"]
Trust = Literal["exact", "measured", "prompt", "weak"]

SELECT = "SELECT name, version, kind, method, model_id, vector, card, params, created_at FROM axis"
NEWEST = f"{SELECT} WHERE collection = ? AND name = ? ORDER BY version DESC LIMIT 1"
VERSION = f"{SELECT} WHERE collection = ? AND name = ? AND version = ?"
ALL = f"{SELECT} WHERE collection = ? ORDER BY name, version"


@dataclass(frozen=True, slots=True)
class Axis:
    """An attribute that pictures can be sorted by.

    A `linear` axis is a unit direction in the encoder's space: more of the attribute is a larger inner
    product. A `field` axis is a number stored with the picture: `taken_at` in seconds, a price, a rating.

    `trust`: `exact` (a stored field), `measured` (held-out rank correlation stands in the card), `prompt`
    (from words, never measured), `weak` (measured, or known from its model, to order poorly).
    """

    name: str
    kind: AxisKind
    method: str  # "shipped", "prompts", "extremes", "field"
    model_id: str
    direction_D: Float32[ndarray, " d"] | None  # None for a field axis
    field: str | None  # None for a linear axis
    trust: Trust
    card: str
    inputs: dict[str, JSONValue]
    version: int = 0  # given by the store, from 1
    created_at: float = 0.0


class AxisStore:
    """Axes of one collection. Putting a name again makes a new version; the newest one answers."""

    def __init__(self, database: Database, collection: str) -> None:
        self._database = database
        self._collection = collection

    def put(self, axis: Axis) -> Axis:
        """Store `axis` as the newest version of its name and return it with version and time set."""
        params = json.dumps({"field": axis.field, "trust": axis.trust, "inputs": axis.inputs})
        vector = None if axis.direction_D is None else axis.direction_D.astype("<f4").tobytes()
        created_at = time.time()
        with self._database.write() as connection:
            (version,) = connection.execute(
                "SELECT coalesce(max(version), 0) + 1 FROM axis WHERE collection = ? AND name = ?",
                (self._collection, axis.name),
            ).fetchone()
            connection.execute(
                "INSERT INTO axis (collection, name, version, kind, method, model_id, vector, card, params,"
                " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._collection, axis.name, version, axis.kind, axis.method, axis.model_id),
                    *(vector, axis.card, params, created_at),
                ),
            )
        return replace(axis, version=version, created_at=created_at)

    def get(self, name: str) -> Axis:
        """The newest version of `name`, or with `name@3` that one. UnknownAxisError lists what exists."""
        base, _, wanted = name.partition("@")
        with self._database.read() as connection:
            if wanted:
                number = int(wanted) if wanted.isdecimal() and len(wanted) < 10 else -1
                row = connection.execute(VERSION, (self._collection, base, number)).fetchone()
            else:
                row = connection.execute(NEWEST, (self._collection, base)).fetchone()
        if row is None:
            known = ", ".join(axis.name for axis in self.list()) or "none yet"
            raise UnknownAxisError(f"no axis named {name!r}; there are: {known}")
        return _axis(row)

    def list(self) -> list[Axis]:
        """The newest version of every axis, by name."""
        with self._database.read() as connection:
            rows = connection.execute(ALL, (self._collection,)).fetchall()
        newest = {axis.name: axis for axis in map(_axis, rows)}  # later versions replace earlier ones
        return list(newest.values())

    def delete(self, name: str) -> None:
        """Forget every version of `name`."""
        self.get(name)
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM axis WHERE collection = ? AND name = ?",
                (self._collection, name.partition("@")[0]),
            )


def _axis(row: tuple[object, ...]) -> Axis:
    name, version, kind, method, model_id, vector, card, params, created_at = row
    stored = json.loads(str(params))
    direction = np.frombuffer(vector, "<f4").astype(np.float32) if isinstance(vector, bytes) else None
    return Axis(
        name=str(name),
        kind="field" if kind == "field" else "linear",
        method=str(method),
        model_id=str(model_id),
        direction_D=direction,
        field=stored["field"],
        trust=stored["trust"],
        card=str(card),
        inputs=stored["inputs"],
        version=int(str(version)),
        created_at=float(str(created_at)),
    )
