"""Rank axes as rows: a direction, where it came from, and how far to trust it."""

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt64
from numpy import ndarray

from indexer.errors import UnknownAxisError
from indexer.tables.database import Database
from indexer.types import JSONValue

AxisKind = Literal["linear", "field", "head"]
Trust = Literal["exact", "measured", "taught", "prompt", "weak"]

SELECT = "SELECT name, version, kind, method, model_id, vector, card, params, created_at FROM axis"
NEWEST = f"{SELECT} WHERE collection = ? AND name = ? ORDER BY version DESC LIMIT 1"
VERSION = f"{SELECT} WHERE collection = ? AND name = ? AND version = ?"
VERSIONS = f"{SELECT} WHERE collection = ? AND name = ? ORDER BY version"
NEWEST_NUMBER = "SELECT max(version) FROM axis WHERE collection = a.collection AND name = a.name"
NEWEST_OF_ALL = f"{SELECT} AS a WHERE collection = ? AND version = ({NEWEST_NUMBER}) ORDER BY name"
USED = "SELECT used FROM axis WHERE collection = ? AND name = ? AND version = ?"


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and standard deviation of the axis over the collection, when the axis was made."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How well an axis orders what it was taught with, and what it was not. None: could not be measured.

    `training` and `held_out` are rank correlations: Spearman's over labels, or over ordered pairs the share
    in the right order, doubled, less one. `low` and `high` bound the held-out one with 95 %; `maximum` is the
    most that ties among the held-out labels allow. `how` says in words what was held out.
    """

    n_train: int
    n_held_out: int
    training: float | None
    held_out: float | None
    low: float | None
    high: float | None
    maximum: float | None
    how: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An attribute that pictures can be sorted by.

    A `linear` axis is a unit direction in the encoder's space: more of the attribute is a larger inner
    product v·x, and `gain · v·x + bias` is in units of the labels. A `field` axis is a number stored with the
    picture: `taken_at` in seconds, a price, a rating. A `head` axis is a small network over the embedding.

    `trust`: `exact` (a stored field), `measured` (its held-out rank correlation is above zero beyond doubt),
    `taught` (from examples or from a published head, too few of it measured), `prompt` (from words, never
    measured), `weak` (measured, or known from its model, to order poorly).
    """

    name: str
    kind: AxisKind
    method: str  # "shipped", "prompts", "extremes", "pairs", "labels", "field", "head"
    model_id: str
    direction_D: Float32[ndarray, " d"] | None  # of a linear axis
    field: str | None  # of a field axis
    trust: Trust
    card: str
    inputs: dict[str, JSONValue]
    version: int = 0  # given by the store, from 1
    created_at: float = 0.0
    gain: float = 1.0
    bias: float = 0.0
    sign: str = ""  # the rule that says which end is the high one
    standard: Standard | None = None  # None for an axis made before there were pictures
    figures: Figures | None = None
    head: bytes | None = None  # of a head axis: its weights, as `rerank.axes.heads` stores them
    # The `content_key`s of the pictures that it was fitted on. On the way in only: read them with `used`.
    used_U: UInt64[ndarray, " u"] | None = None


def content_key(sha256: str) -> int:
    """A short key of a picture's content: it stays when the picture is indexed again, elsewhere too."""
    return int(sha256[:16], 16)


class AxisStore:
    """Axes of one collection. Putting a name again makes a new version; the newest one answers."""

    def __init__(self, database: Database, collection: str) -> None:
        self._database = database
        self._collection = collection

    def put(self, axis: Axis) -> Axis:
        """Store `axis` as the newest version of its name and return it with version and time set."""
        vector = axis.head if axis.direction_D is None else axis.direction_D.astype("<f4").tobytes()
        used = None if axis.used_U is None else axis.used_U.astype("<u8").tobytes()
        created_at = time.time()
        with self._database.write() as connection:
            (version,) = connection.execute(
                "SELECT coalesce(max(version), 0) + 1 FROM axis WHERE collection = ? AND name = ?",
                (self._collection, axis.name),
            ).fetchone()
            connection.execute(
                "INSERT INTO axis (collection, name, version, kind, method, model_id, vector, card, params,"
                " created_at, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._collection, axis.name, version, axis.kind, axis.method, axis.model_id),
                    *(vector, axis.card, _params(axis), created_at, used),
                ),
            )
        return replace(axis, version=version, created_at=created_at, used_U=None)

    def get(self, name: str) -> Axis:
        """The newest version of `name`, or with `name@3` that one. UnknownAxisError lists what exists."""
        base, at, wanted = name.partition("@")
        with self._database.read() as connection:
            if at:
                number = int(wanted) if wanted.isdecimal() and len(wanted) < 10 else -1
                row = connection.execute(VERSION, (self._collection, base, number)).fetchone()
            else:
                row = connection.execute(NEWEST, (self._collection, base)).fetchone()
        if row is None:
            known = ", ".join(axis.name for axis in self.list()) or "none yet"
            raise UnknownAxisError(f"no axis named {name[:80]!r}; there are: {known}")
        return _axis(row)

    def used(self, axis: Axis) -> UInt64[ndarray, " u"]:
        """The `content_key`s of the pictures that this version was fitted on; empty without any."""
        with self._database.read() as connection:
            (used,) = connection.execute(USED, (self._collection, axis.name, axis.version)).fetchone()
        return np.frombuffer(used or b"", "<u8").astype(np.uint64)

    def versions(self, name: str) -> "list[Axis]":
        """Every version of `name`, the oldest first."""
        base = self.get(name).name
        with self._database.read() as connection:
            rows = connection.execute(VERSIONS, (self._collection, base)).fetchall()
        return [_axis(row) for row in rows]

    def list(self) -> list[Axis]:
        """The newest version of every axis, by name."""
        with self._database.read() as connection:
            rows = connection.execute(NEWEST_OF_ALL, (self._collection,)).fetchall()
        return [_axis(row) for row in rows]

    def delete(self, name: str) -> None:
        """Forget every version of `name`, or of `name@3` that one."""
        axis = self.get(name)
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM axis WHERE collection = ? AND name = ? AND (version = ? OR ?)",
                (self._collection, axis.name, axis.version, "@" not in name),
            )


def _params(axis: Axis) -> str:
    """What has no column of its own."""
    return json.dumps(
        {
            "field": axis.field,
            "trust": axis.trust,
            "inputs": axis.inputs,
            "gain": axis.gain,
            "bias": axis.bias,
            "sign": axis.sign,
            "standard": None if axis.standard is None else asdict(axis.standard),
            "figures": None if axis.figures is None else asdict(axis.figures),
        },
        allow_nan=False,
    )


def _axis(row: tuple[object, ...]) -> Axis:
    name, version, kind, method, model_id, vector, card, params, created_at = row
    stored = json.loads(str(params))
    stored_as: AxisKind = "field" if kind == "field" else "head" if kind == "head" else "linear"
    data = vector if isinstance(vector, bytes) else b""
    return Axis(
        name=str(name),
        kind=stored_as,
        method=str(method),
        model_id=str(model_id),
        direction_D=np.frombuffer(data, "<f4").astype(np.float32) if stored_as == "linear" else None,
        field=stored["field"],
        trust=stored["trust"],
        card=str(card),
        inputs=stored["inputs"],
        version=int(str(version)),
        created_at=float(str(created_at)),
        # Absent in axes that were stored before these were.
        gain=stored.get("gain", 1.0),
        bias=stored.get("bias", 0.0),
        sign=stored.get("sign", ""),
        standard=Standard(**stored["standard"]) if stored.get("standard") else None,
        figures=Figures(**stored["figures"]) if stored.get("figures") else None,
        head=data if stored_as == "head" else None,
    )
