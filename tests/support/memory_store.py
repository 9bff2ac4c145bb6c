"""A store that keeps every version whole, in dictionaries, and answers by looking at every picture.

The other implementation of `indexer.protocols.Store`: slow, small and plain, it is what the local one is
compared with.

Dimension key   N pictures, D embedding, K results
"""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from indexer.attributes import Attribute, Linear, Phrase, Stored, Term, Words
from indexer.errors import InvalidCursorError, InvalidInputError, NotFoundError
from indexer.filters.language import Scalar
from indexer.protocols import TIE, Matches, Place, Quantile, Sample, Statistics, StoreInfo, Version
from indexer.types import Count, IdList, ImageId, ImageRow, JSONValue, Known, Metadata, NewImage
from indexer.where import EVERYTHING, And, Band, Everything, Ids, Matching, Not, Where
from indexer.words import BREAK, words_of
from tests.support.filter_meaning import holds, kind_and_value, number_of, scalars


@dataclass(frozen=True, slots=True)
class Kept:
    """A version of a picture, and its vector as float16 rounds it."""

    row: ImageRow
    vector_D: Float32[ndarray, " d"]


class MemorySnapshot:
    """See `indexer.protocols.Snapshot`."""

    def __init__(self, version: Version, pictures: Mapping[ImageId, Kept], dim: int, writes: int = 0) -> None:
        self.version = version
        self.dim = dim
        self.writes = writes
        self._pictures = {image_id: pictures[image_id] for image_id in sorted(pictures)}

    @property
    def images(self) -> int:
        return len(self._pictures)

    def nearest(
        self,
        direction_D: Float32[ndarray, " d"],
        k: int,
        where: Where = EVERYTHING,
        *,
        recall: float = 0.95,
        words: tuple[Words, float] | None = None,
    ) -> Matches:
        ids = self.ids(where)
        score = dict(zip(ids, self.values(Linear(direction_D), ids).tolist(), strict=True))
        if words is not None:
            for i, value in zip(ids, self.values(words[0], ids).tolist(), strict=True):
                score[i] += 0.0 if math.isnan(value) else words[1] * value
        best = sorted(ids, key=lambda i: (-score[i], i))[:k]
        scores_K = np.array([score[i] for i in best], np.float32)
        return Matches(np.array(best, np.int64), scores_K, "exact", len(ids))

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
        total = dict.fromkeys(ids, 0.0)
        for term in terms:
            for i, value in zip(ids, self.values(term.attribute, ids).tolist(), strict=True):
                if not math.isnan(value):
                    total[i] += term.scale * (value - term.offset)
                elif missing == "last" and len(terms) == 1:
                    total[i] = math.nan
        sign = 1.0 if ascending else -1.0
        behind = [i for i in ids if after is None or _is_behind(i, total[i], after, sign)]
        first = sorted(
            behind, key=lambda i: (True, 0.0, i) if math.isnan(total[i]) else (False, sign * total[i], i)
        )
        scores_K = np.array([total[i] for i in first[:k]], np.float32)
        return Matches(np.array(first[:k], np.int64), scores_K, "exact", len(ids))

    def count(self, where: Where = EVERYTHING) -> int:
        return len(self.ids(where))

    def ids(self, where: Where = EVERYTHING) -> list[ImageId]:
        return sorted(self._among(where))

    def vectors(self, ids: IdList) -> Float32[ndarray, "n d"]:
        return np.array([self._at(i).vector_D for i in ids], np.float32).reshape(len(ids), self.dim)

    def rows(self, ids: IdList) -> list[ImageRow]:
        return [self._at(i).row for i in ids]

    def find(self, ids: IdList) -> list[ImageRow]:
        return self.rows([i for i in ids if i in self._pictures])

    def values(self, attribute: Attribute, ids: IdList) -> Float64[ndarray, " n"]:
        if isinstance(attribute, Stored):
            return np.array([number_of(row, attribute.field) for row in self.rows(ids)], np.float64)
        if isinstance(attribute, Words):
            return np.array([_match(_told(row), attribute) for row in self.rows(ids)], np.float64)
        if isinstance(attribute, Phrase):
            has = [_holds_phrase(_told(row), attribute.tokens) for row in self.rows(ids)]
            return np.where(has, 1.0, np.nan)
        vectors_ND = self.vectors(ids)
        if isinstance(attribute, Linear):
            return vectors_ND.astype(np.float64) @ attribute.direction_D.astype(np.float64)
        return np.array(attribute.values_of(vectors_ND), np.float64)

    def tokens(
        self, word: str, how: Literal["equal", "prefix", "part", "spelling"] = "equal", *, most: int = 20
    ) -> list[Count]:
        told = [
            {token for own in _told(kept.row).values() for token in own} for kept in self._pictures.values()
        ]
        counted = Counter(
            token for own in told for token in own if token != BREAK and _is_like(token, word, how)
        )
        ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
        return [Count(token, count) for token, count in ordered[:most]]

    def groups(self, field: str, ids: IdList) -> Int64[ndarray, " n"]:
        numbers: dict[tuple[str, Scalar], int] = {}
        firsts = [scalars(row, field)[:1] for row in self.rows(ids)]
        keys = [
            numbers.setdefault(kind_and_value(first[0]), len(numbers)) if first else -1 for first in firsts
        ]
        return np.array(keys, np.int64)

    def facets(self, field: str, where: Where = EVERYTHING, *, most: int = 100) -> list[Count]:
        counted = Counter(
            key for row in self.rows(self.ids(where)) for key in set(map(kind_and_value, scalars(row, field)))
        )
        kinds = ("text", "number", "truth")  # the last resort: "1" stands before 1
        tied = sorted(
            counted.items(), key=lambda one: (-one[1], str(_plain(one[0][1])), kinds.index(one[0][0]))
        )
        return [Count(_plain(value), count) for (_, value), count in tied[:most]]

    def quantiles(
        self, attribute: Attribute, percents: Sequence[float], where: Where = EVERYTHING
    ) -> list[Quantile]:
        ids = self.ids(where)
        pairs = zip(self.values(attribute, ids).tolist(), ids, strict=True)
        rising = sorted(pair for pair in pairs if not math.isnan(pair[0]))
        if not rising:
            return []
        places = [math.floor(Fraction(str(percent)) * len(rising) / 100) for percent in percents]
        return [Quantile(*rising[min(len(rising) - 1, place)]) for place in places]

    def statistics(self, attribute: Attribute, where: Where = EVERYTHING, *, bars: int = 1) -> Statistics:
        value_N = self.values(attribute, self.ids(where))
        value_N = value_N[~np.isnan(value_N)]
        if len(value_N) == 0:
            return Statistics(0, 0.0, 0.0, np.zeros(0, np.int64), np.zeros(0))
        low, high = float(value_N.min()), float(value_N.max())
        edges_B = np.array(
            [float(Fraction(low) + (Fraction(high) - Fraction(low)) * b / bars) for b in range(bars + 1)]
        )
        bar_N = np.clip(np.searchsorted(edges_B, value_N, "right") - 1, 0, bars - 1)
        counts_B = np.bincount(bar_N, minlength=bars).astype(np.int64)
        exact = [Fraction(value) for value in value_N.tolist()]
        mean = sum(exact, Fraction(0)) / len(exact)
        spread = max(abs(value - mean) for value in exact) or Fraction(1)
        squares = [((value - mean) / spread) ** 2 for value in exact]
        variance = sum(squares, Fraction(0)) / len(exact)
        std = float(spread) * math.sqrt(variance)
        return Statistics(len(value_N), float(mean), std, counts_B, edges_B)

    def sample(self, most: int) -> Sample:
        ids = list(self._pictures)
        ids = [ids[n * len(ids) // most] for n in range(most)] if len(ids) > most else ids
        return Sample(np.array(ids, np.int64), self.vectors(ids))

    def scroll(self, *, after: int = 0, limit: int = 100, where: Where = EVERYTHING) -> list[ImageRow]:
        return self.rows([i for i in self.ids(where) if i > after][:limit])

    def _at(self, image_id: int) -> Kept:
        kept = self._pictures.get(ImageId(image_id))
        if kept is None:
            raise NotFoundError(f"no image with id {image_id}")
        return kept

    def _among(self, where: Where) -> set[ImageId]:
        every = set(self._pictures)
        match where:
            case Everything():
                return every
            case Matching(condition):
                return {image_id for image_id, kept in self._pictures.items() if holds(condition, kept.row)}
            case Ids(ids):
                return every & set(ids)
            case Band(attribute, low, high):
                known = list(every)
                values = zip(known, self.values(attribute, known).tolist(), strict=True)
                return {i for i, value in values if value >= low and (high is None or value < high)}
            case And(parts):
                return every.intersection(*map(self._among, parts))
            case Not(part):
                return every - self._among(part)


class MemoryStore:
    """See `indexer.protocols.Store`. Every version is kept for good; `Version.number` says which."""

    def __init__(self, model_id: str, dim: int) -> None:
        self.model_id = model_id
        self.dim = dim
        self._versions: list[dict[ImageId, Kept]] = [{}]
        self._last_id = 0

    def snapshot(self, at: Version | None = None) -> MemorySnapshot:
        newest = self._versions[-1]
        if at is None:
            number = len(self._versions) - 1
            return MemorySnapshot(Version(number), newest, self.dim, self._writes(number))
        if at.detail or not 0 <= at.number < len(self._versions):
            raise InvalidCursorError(f"there never was a version {at}")
        then = {image_id: kept for image_id, kept in self._versions[at.number].items() if image_id in newest}
        return MemorySnapshot(at, then, self.dim, self._writes(at.number))

    def info(self) -> StoreInfo:
        snapshot = self.snapshot()
        return StoreInfo(snapshot.images, snapshot.version, "exact", "cpu", 0, 0, snapshot.images, 0, 0)

    def _writes(self, number: int) -> int:
        """Pictures that were added or edited up to a version."""
        versions = self._versions[: number + 1]
        return sum(
            before.get(image_id) is not kept
            for before, after in pairwise(versions)
            for image_id, kept in after.items()
        )

    def add(self, images: Sequence[NewImage], vectors_ND: Float32[ndarray, "n d"]) -> list[ImageId]:
        if len(images) != len(vectors_ND) or (len(images) and vectors_ND.shape[1] != self.dim):
            raise InvalidInputError(f"{len(images)} images came with vectors of shape {vectors_ND.shape}")
        pictures = dict(self._versions[-1])
        id_of = {kept.row.uri: image_id for image_id, kept in pictures.items()}
        last = {image.uri: n for n, image in enumerate(images)}
        for n in sorted(last.values()):
            image = images[n]
            self._last_id += 1  # also for a known uri: ids have gaps, the same ones as in the local store
            image_id = id_of.setdefault(image.uri, ImageId(self._last_id))
            added_at = pictures[image_id].row.added_at if image_id in pictures else time.time()
            row = ImageRow(
                **{name: getattr(image, name) for name in NewImage.__slots__ if name != "metadata"},
                id=image_id,
                added_at=added_at,
                metadata=_copied(image.metadata),
            )
            pictures[image_id] = Kept(row, np.asarray(vectors_ND[n]).astype(np.float16).astype(np.float32))
        self._versions.append(pictures)
        return [id_of[image.uri] for image in images]

    def patch(self, image_id: ImageId, changes: Metadata) -> ImageRow:
        row = self.snapshot().rows([image_id])[0]
        merged = {**row.metadata, **{name: value for name, value in changes.items() if name != "taken_at"}}
        metadata = _copied({name: value for name, value in merged.items() if value is not None})
        taken_at = _seconds(changes["taken_at"]) if "taken_at" in changes else row.taken_at
        changed = replace(row, metadata=metadata, taken_at=taken_at)
        self._replace([changed])
        return changed

    def fill(self, additions: Mapping[ImageId, Metadata]) -> int:
        rows = self.snapshot().find(list(additions))
        changed = [replace(row, metadata=_filled(row.metadata, additions[row.id])) for row in rows]
        changed = [new for new, old in zip(changed, rows, strict=True) if new.metadata != old.metadata]
        self._replace(changed)
        return len(changed)

    def delete(self, ids: Sequence[ImageId]) -> list[ImageId]:
        pictures = dict(self._versions[-1])
        gone = sorted(image_id for image_id in set(ids) if pictures.pop(image_id, None))
        self._versions.append(pictures)
        return gone

    def known(self, uris: Sequence[str] | None = None) -> Mapping[str, Known]:
        rows = [kept.row for kept in self._versions[-1].values()]
        return {
            row.uri: Known(row.id, row.size, row.mtime_ns, row.sha256)
            for row in rows
            if uris is None or row.uri in uris
        }

    def find_by_sha256(self, digests: Sequence[str]) -> Mapping[str, list[ImageRow]]:
        found: dict[str, list[ImageRow]] = {}
        for row in self.snapshot().rows(self.snapshot().ids()):
            if row.sha256 in digests:
                found.setdefault(row.sha256, []).append(row)
        return found

    def move(self, image_id: ImageId, uri: str) -> None:
        """Not of the contract: what `Collection.touch` does to a file with a new name."""
        self._replace([replace(self.snapshot().rows([image_id])[0], uri=uri)])

    def _replace(self, rows: Sequence[ImageRow]) -> None:
        pictures = dict(self._versions[-1])
        pictures |= {row.id: replace(pictures[row.id], row=row) for row in rows}
        self._versions.append(pictures)


def _is_behind(image_id: ImageId, score: float, place: Place, sign: float) -> bool:
    if place.score is None:
        return math.isnan(score) and image_id > max(place.ids, default=ImageId(-1))
    if image_id in place.ids:
        return False
    return math.isnan(score) or sign * float(np.float32(score) - np.float32(place.score)) >= -TIE


def _filled(metadata: Metadata, additions: Metadata) -> dict[str, JSONValue]:
    merged = dict(metadata)
    for name, value in additions.items():
        have = merged.get(name)
        if name not in merged:
            merged[name] = value
        elif isinstance(have, dict) and isinstance(value, dict):
            merged[name] = _filled(have, value)
    return merged


def _copied(metadata: Metadata) -> dict[str, JSONValue]:
    copy: dict[str, JSONValue] = json.loads(json.dumps(dict(metadata)))
    return copy


def _seconds(value: JSONValue) -> float | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _plain(value: Scalar) -> Scalar:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WEIGHT_OF = {"title": 3, "tags": 3, "caption": 2, "place": 2, "name": 2, "camera": 1, "date": 1, "ocr": 1}
"""What an occurrence counts by the field it stands in; 1 in any other."""


def _told(row: ImageRow) -> dict[str, list[str]]:
    return words_of(row.uri, row.taken_at, row.metadata)


def _match(told: Mapping[str, list[str]], words: Words) -> float:
    """BM25F without length, as a share of the most, to the power 1.5; NaN where nothing matches."""
    total, most = 0.0, 0.0
    for term in words.terms:
        count = sum(
            WEIGHT_OF.get(field, 1) * own.count(token) for token in term.forms for field, own in told.items()
        )
        total += term.share * term.idf * count / (count + 1.2)
        most += term.idf
    return (total / most) ** 1.5 if total else math.nan


def _holds_phrase(told: Mapping[str, list[str]], phrase: Sequence[str]) -> bool:
    length = len(phrase)
    return any(
        tuple(own[at : at + length]) == tuple(phrase) for own in told.values() for at in range(len(own))
    )


def _is_like(token: str, word: str, how: str) -> bool:
    match how:
        case "equal":
            return token == word
        case "prefix":
            return token.startswith(word)
        case "part":
            return word in token
        case _:
            if len(word) < 4 or token == word or _slips(token, word) > (1 if len(word) < 8 else 2):
                return False
            return token[:2] == word[:2] or any(word[at : at + 3] in token for at in range(len(word) - 2))


def _slips(a: str, b: str) -> int:
    """Letters added, left out, replaced, or swapped with their neighbour, each letter at most once."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and (x, a[i - 2]) == (b[j - 2], y):
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
