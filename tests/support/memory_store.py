"""A store of dictionaries and NumPy arrays: the oracle of the store protocol, with no code of the local one.

Each write copies the whole state, so every version that there ever was can be asked.

Dimension key   N pictures, D embedding, K results
"""

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from indexer.attributes import Attribute, Linear, Stored, Term
from indexer.errors import InvalidCursorError, NotFoundError
from indexer.filters.geo import are_inside, are_near
from indexer.filters.language import Exists, Filter, GeoBox, GeoRadius, Group, Match, Range
from indexer.protocols import TIE, Matches, Place, Quantile, Sample, Statistics, StoreInfo, Version
from indexer.times import seconds_since_1970
from indexer.types import Count, IdList, ImageId, ImageRow, Known, Metadata, NewImage
from indexer.where import EVERYTHING, And, Band, Everything, Ids, Matching, Not, Where

COLUMNS = ("id", "uri", "sha256", "size", "width", "height", "format", "taken_at", "added_at")
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Picture:
    row: ImageRow
    vector_D: Float32[ndarray, " d"]  # as a store keeps it: rounded to float16


State = Mapping[ImageId, Picture]


def value_of(row: ImageRow, field: str) -> Any:  # noqa: ANN401  # whatever JSON holds
    if field in COLUMNS:
        return getattr(row, field)
    value: Any = dict(row.metadata)
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def items_of(row: ImageRow, field: str) -> list[Any]:
    value = value_of(row, field)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str | int | float)]


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def holds(condition: Filter, row: ImageRow) -> bool:
    """Picture by picture, as the language is described."""
    match condition:
        case Match(field, values):
            return any(
                isinstance(have, bool) == isinstance(want, bool) and have == want
                for have in items_of(row, field)
                for want in values
            )
        case Range(field, bounds):
            fits = str if isinstance(bounds[0][1], str) else float
            return any(
                all(COMPARE[sign](have, bound) for sign, bound in bounds)
                for have in items_of(row, field)
                if (isinstance(have, str) if fits is str else is_number(have))
            )
        case Exists(field):
            return value_of(row, field) is not None
        case GeoRadius(latitude, longitude, radius_m):
            return bool(are_near(*_place(row), latitude, longitude, radius_m)[0])
        case GeoBox(south, west, north, east):
            return bool(are_inside(*_place(row), south, west, north, east)[0])
        case Group(must, should, must_not):
            return (
                all(holds(part, row) for part in must)
                and (not should or any(holds(part, row) for part in should))
                and not any(holds(part, row) for part in must_not)
            )


def _place(row: ImageRow) -> tuple[Float64[ndarray, " 1"], Float64[ndarray, " 1"]]:
    values = [next(filter(is_number, items_of(row, name)), np.nan) for name in ("latitude", "longitude")]
    return np.array(values[:1], float), np.array(values[1:], float)


class MemorySnapshot:
    """See `indexer.protocols.Snapshot`."""

    def __init__(self, version: Version, state: State, dim: int, writes: int) -> None:
        self._version = version
        self._state = dict(sorted(state.items()))
        self._dim = dim
        self._writes = writes

    @property
    def version(self) -> Version:
        return self._version

    @property
    def images(self) -> int:
        return len(self._state)

    @property
    def writes(self) -> int:
        return self._writes

    @property
    def dim(self) -> int:
        return self._dim

    def nearest(
        self, direction_D: Float32[ndarray, " d"], k: int, where: Where = EVERYTHING, *, recall: float = 0.95
    ) -> Matches:
        ids = self.ids(where)
        scores = {i: float(self._state[i].vector_D @ direction_D) for i in ids}
        best = sorted(ids, key=lambda i: (-scores[i], i))[:k]
        return _matches(best, [scores[i] for i in best], len(ids))

    def order(
        self,
        terms: Sequence[Term],
        k: int,
        where: Where = EVERYTHING,
        *,
        after: Place | None = None,
        ascending: bool = False,
        missing: Literal["last", "average"] = "average",
    ) -> Matches:
        ids = self.ids(where)
        last = missing == "last" and len(terms) == 1
        scores = {i: self._sum(terms, i, last=last) for i in ids}
        known = sorted(
            (i for i in ids if not np.isnan(scores[i])),
            key=lambda i: (scores[i] if ascending else -scores[i], i),
        )
        ordered = [*known, *(i for i in ids if np.isnan(scores[i]))]
        if after is not None:
            ordered = [i for i in ordered if _is_behind(i, scores[i], after, ascending)]
        return _matches(ordered[:k], [scores[i] for i in ordered[:k]], len(ids))

    def count(self, where: Where = EVERYTHING) -> int:
        return len(self.ids(where))

    def ids(self, where: Where = EVERYTHING) -> list[ImageId]:
        return [i for i in self._state if self._meets(i, where)]

    def vectors(self, ids: IdList) -> Float32[ndarray, "n d"]:
        found = [self._picture(i).vector_D for i in ids]
        return np.stack(found) if found else np.empty((0, self._dim), np.float32)

    def rows(self, ids: IdList) -> list[ImageRow]:
        return [self._picture(i).row for i in ids]

    def find(self, ids: IdList) -> list[ImageRow]:
        return [self._state[ImageId(int(i))].row for i in ids if int(i) in self._state]

    def values(self, attribute: Attribute, ids: IdList) -> Float64[ndarray, " n"]:
        return np.array([self._value(attribute, self._picture(i)) for i in ids], float)

    def groups(self, field: str, ids: IdList) -> Int64[ndarray, " n"]:
        keys: dict[tuple[type, object], int] = {}
        found = []
        for i in ids:
            items = items_of(self._picture(i).row, field)
            key = None if not items else (bool if isinstance(items[0], bool) else object, items[0])
            found.append(-1 if key is None else keys.setdefault(key, len(keys)))
        return np.array(found, np.int64)

    def facets(self, field: str, where: Where = EVERYTHING, *, most: int = 100) -> list[Count]:
        counts: dict[tuple[bool, Any], int] = {}
        for i in self.ids(where):
            for key in {(isinstance(item, bool), item) for item in items_of(self._state[i].row, field)}:
                counts[key] = counts.get(key, 0) + 1
        found = [Count(value, count) for (_, value), count in counts.items()]
        return sorted(found, key=lambda one: (-one.count, str(one.value)))[:most]

    def quantiles(
        self, attribute: Attribute, percents: Sequence[float], where: Where = EVERYTHING
    ) -> list[Quantile]:
        ordered = sorted((value, i) for i, value in self._known(attribute, where))
        count = len(ordered)
        places = [min(count - 1, int(percent * count / 100 + 1e-9)) for percent in percents]
        return [Quantile(*ordered[place]) for place in places] if ordered else []

    def statistics(self, attribute: Attribute, where: Where = EVERYTHING, *, bars: int = 1) -> Statistics:
        values = [value for _, value in self._known(attribute, where)]
        if not values:
            return Statistics(0, 0.0, 0.0, np.zeros(0, np.int64), np.zeros(0))
        counts_B, edges_B = np.histogram(values, bars)
        return Statistics(len(values), float(np.mean(values)), float(np.std(values)), counts_B, edges_B)

    def sample(self, most: int) -> Sample:
        ids = list(self._state)
        ids = ids[:: max(1, -(-len(ids) // most))]
        return Sample(np.array(ids, np.int64), self.vectors(ids))

    def scroll(self, *, after: int = 0, limit: int = 100, where: Where = EVERYTHING) -> list[ImageRow]:
        return [self._state[i].row for i in self.ids(where) if i > after][:limit]

    def _meets(self, image_id: ImageId, where: Where) -> bool:
        picture = self._state[image_id]
        match where:
            case Everything():
                return True
            case Matching(condition):
                return holds(condition, picture.row)
            case Ids(ids):
                return image_id in ids
            case Band(attribute, low, high):
                value = self._value(attribute, picture)
                return value >= low and (high is None or value < high)
            case And(parts):
                return all(self._meets(image_id, part) for part in parts)
            case Not(part):
                return not self._meets(image_id, part)

    def _picture(self, image_id: int) -> Picture:
        try:
            return self._state[ImageId(int(image_id))]
        except KeyError:
            raise NotFoundError(f"no image with id {int(image_id)}") from None

    def _value(self, attribute: Attribute, picture: Picture) -> float:
        if isinstance(attribute, Stored):
            return float(next(filter(is_number, items_of(picture.row, attribute.field)), np.nan))
        if isinstance(attribute, Linear):
            return float(picture.vector_D @ attribute.direction_D)
        return float(attribute.values_of(picture.vector_D[None, :])[0])

    def _known(self, attribute: Attribute, where: Where) -> Iterator[tuple[ImageId, float]]:
        for i in self.ids(where):
            value = self._value(attribute, self._state[i])
            if not np.isnan(value):
                yield i, value

    def _sum(self, terms: Sequence[Term], image_id: ImageId, *, last: bool) -> float:
        shares = [
            term.scale * (self._value(term.attribute, self._state[image_id]) - term.offset) for term in terms
        ]
        return float(np.float32(shares[0] if last else np.nansum(shares)))


class MemoryStore:
    """See `indexer.protocols.Store`."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._states: list[State] = [{}]
        self._writes = [0]
        self._next = 1

    @property
    def model_id(self) -> str:
        return "test-1"

    @property
    def dim(self) -> int:
        return self._dim

    def snapshot(self, at: Version | None = None) -> MemorySnapshot:
        newest = len(self._states) - 1
        number = newest if at is None else at.number
        if not 0 <= number <= newest or (at is not None and at.detail):
            raise InvalidCursorError(f"there is no version {at}")
        state = {i: picture for i, picture in self._states[number].items() if i in self._states[-1]}
        return MemorySnapshot(Version(number), state, self._dim, self._writes[number])

    def info(self) -> StoreInfo:
        images = len(self._states[-1])
        return StoreInfo(images, Version(len(self._states) - 1), "exact", "cpu", 0, 0, images, 0, 0)

    def add(self, images: Sequence[NewImage], vectors_ND: Float32[ndarray, "n d"]) -> list[ImageId]:
        state = dict(self._states[-1])
        id_of = {picture.row.uri: i for i, picture in state.items()}
        last = {image.uri: n for n, image in enumerate(images)}
        for n, image in enumerate(images):
            if last[image.uri] != n:
                continue
            if image.uri not in id_of:
                id_of[image.uri] = ImageId(self._next)
            self._next += 1  # with every picture, as SQLite counts: ids rise, and may leave gaps
            image_id = id_of[image.uri]
            added_at = state[image_id].row.added_at if image_id in state else time.time()
            row = ImageRow(
                image_id,
                **{name: getattr(image, name) for name in NewImage.__slots__ if name != "metadata"},
                added_at=added_at,
                metadata=dict(image.metadata),
            )
            state[image_id] = Picture(row, vectors_ND[n].astype(np.float16).astype(np.float32))
        self._put(state, len(last))
        return [id_of[image.uri] for image in images]

    def patch(self, image_id: ImageId, changes: Metadata) -> ImageRow:
        picture = self.snapshot()._picture(image_id)
        merged = {**picture.row.metadata, **{k: v for k, v in changes.items() if k != "taken_at"}}
        row = replace(picture.row, metadata={k: v for k, v in merged.items() if v is not None})
        if "taken_at" in changes:
            taken_at = changes["taken_at"]
            row = replace(row, taken_at=None if taken_at is None else seconds_since_1970(str(taken_at)))
        self._put({**self._states[-1], image_id: replace(picture, row=row)}, 1)
        return row

    def fill(self, additions: Mapping[ImageId, Metadata]) -> int:
        state, changed = dict(self._states[-1]), 0
        for image_id, added in additions.items():
            if image_id in state:
                picture = state[image_id]
                metadata = {**added, **picture.row.metadata}
                if metadata != picture.row.metadata:
                    state[image_id] = replace(picture, row=replace(picture.row, metadata=metadata))
                    changed += 1
        if changed:
            self._put(state, changed)
        return changed

    def delete(self, ids: Sequence[ImageId]) -> list[ImageId]:
        gone = sorted({i for i in ids if i in self._states[-1]})
        self._put({i: picture for i, picture in self._states[-1].items() if i not in gone}, 0)
        return gone

    def known(self, uris: Sequence[str] | None = None) -> dict[str, Known]:
        rows = [picture.row for picture in self._states[-1].values()]
        return {
            row.uri: Known(row.id, row.size, row.mtime_ns, row.sha256)
            for row in rows
            if uris is None or row.uri in uris
        }

    def find_by_sha256(self, digests: Sequence[str]) -> dict[str, list[ImageRow]]:
        found: dict[str, list[ImageRow]] = {}
        for _, picture in sorted(self._states[-1].items()):
            if picture.row.sha256 in digests:
                found.setdefault(picture.row.sha256, []).append(picture.row)
        return found

    def _put(self, state: State, writes: int) -> None:
        self._states.append(state)
        self._writes.append(self._writes[-1] + writes)


def _matches(ids: Sequence[int], scores: Sequence[float], candidates: int) -> Matches:
    return Matches(np.array(ids, np.int64), np.array(scores, np.float32), "exact", candidates)


def _is_behind(image_id: int, score: float, place: Place, ascending: bool) -> bool:
    if place.score is None:
        return bool(np.isnan(score)) and image_id > max(place.ids, default=-1)
    ahead = place.score - score if ascending else score - place.score
    return not ahead > TIE and image_id not in place.ids
