"""One version of a collection, for reading: what a query sees does not change while it runs.

Inside, a picture is a row of the vector file, and a set of pictures is a bitmap; outside, pictures are known
by their ids, and sets are conditions (`indexer.where`).

Dimension key   N rows, D embedding, K results
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
from jaxtyping import Float, Float16, Float32, Float64, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.index import ActiveIndex, Family
from indexer.ann.rows import Rows, Scored
from indexer.attributes import Attribute, Linear, Phrase, Stored, Term, Words
from indexer.collection.attribute_values import AttributeValues, compute, statistics_of
from indexer.collection.candidates import Candidates
from indexer.collection.known_rows import KnownRows
from indexer.collection.ordering import are_inside, as_scores, first, key_of, share_of, split
from indexer.collection.word_index import Resemblance, SnapshotWords, WordIndex
from indexer.disk.slots import SlotMap
from indexer.filters.columns import Fields, ToRows
from indexer.filters.language import Filter
from indexer.lru import Lru
from indexer.protocols import EXACT, TIE, Matches, Place, Quantile, Sample, Statistics, Version
from indexer.types import Count, IdList, ImageId, ImageRow
from indexer.where import EVERYTHING, And, Band, Everything, Ids, Matching, Not, Where

MOST_CACHED = 64  # filters, and columns, of one snapshot
MOST_SORTED = 8
MARGIN = 16  # results beyond those asked for: rounding may put one of them higher
PLACES = 4096  # of an order that are remembered; a scan finds them as fast as it finds ten


@dataclass(frozen=True, slots=True)
class Parts:
    """What the snapshots of one collection share."""

    fields: Fields
    values: AttributeValues
    words: WordIndex
    places: Lru[tuple[object, ...], Scored]  # the first PLACES of orders of the whole collection
    exact_rows: int


class LocalSnapshot:
    """See `indexer.protocols.Snapshot`.

    Its pictures are the rows `alive`, of that `file_set`. `state` tells it from every other snapshot.
    """

    def __init__(
        self,
        version: Version,
        rows: Rows,
        slot_map: SlotMap,
        alive: Bitmap,
        index: ActiveIndex | None,
        known: KnownRows,
        parts: Parts,
        *,
        slots: int,
        file_set: int,
        state: tuple[int, ...],
    ) -> None:
        self.version = version
        self.matrix = rows
        self.slots = slots
        self.file_set = file_set
        self.state = state
        self.index = index
        self._map = slot_map
        self._alive = alive
        self._known = known
        self._parts = parts
        self._words = SnapshotWords(parts.words, slots, slot_map, alive)
        self._candidates = Candidates(rows, alive, index, parts.exact_rows)
        self._filters: Lru[str, Bitmap] = Lru(MOST_CACHED)
        self._columns: Lru[str, ndarray] = Lru(MOST_CACHED)
        self._ids: Lru[str, ndarray] = Lru(MOST_SORTED)
        self._sorted: Lru[str, Float[ndarray, " n"]] = Lru(MOST_SORTED)

    # What the index is for: see `indexer.collection.compaction`.

    @property
    def slot_map(self) -> SlotMap:
        return self._map

    @property
    def family(self) -> Family | None:
        return None if self.index is None else self.index.family

    @property
    def device(self) -> str:
        """What searches the index: `cpu`, a device, or `cpu:` and why not a device."""
        return "cpu" if self.index is None else self.index.where

    @property
    def covered_rows(self) -> int:
        """Rows that the index covers."""
        return 0 if self.index is None else self.index.covered_rows

    @property
    def base_rows(self) -> int:
        """Rows that the index was built over, before it was extended."""
        return 0 if self.index is None else self.index.base_rows

    @property
    def deleted(self) -> int:
        """Rows that are still there for pictures, or versions of them, that are not."""
        return len(self.matrix) - self.images

    def live(self) -> Bitmap:
        return self._alive

    def live_rows(self, block: int) -> Iterator[Float16[ndarray, "n d"]]:
        """Every live row as it is stored, rising, `block` at a time."""
        rows_N = self._alive.rows()
        for start in range(0, len(rows_N), block):
            yield self.matrix.rows_ND[rows_N[start : start + block]]

    # What everybody else asks: see `indexer.protocols.Snapshot`.

    @property
    def images(self) -> int:
        return self._alive.count

    @property
    def writes(self) -> int:
        return self.slots

    @property
    def dim(self) -> int:
        return self.matrix.dim

    def nearest(
        self,
        direction_D: Float32[ndarray, " d"],
        k: int,
        where: Where = EVERYTHING,
        *,
        recall: float = 0.95,
        words: tuple[Words, float] | None = None,
    ) -> Matches:
        where, without = split(where)
        allow = self.compile(where)
        direction_D = np.ascontiguousarray(direction_D, np.float32)
        found = self._candidates.best(direction_D, k + len(without), allow, recall)
        if words is not None:
            among = None if allow is self._alive else allow
            found = self._words.added_to(found, self.matrix, direction_D, k + len(without), among, *words)
        best = found.best
        if without:
            keep_K = np.flatnonzero(~np.isin(best.rows_K, self._known.rows_of(without)))[:k]
            best = Scored(best.scores_K[keep_K], best.rows_K[keep_K])
        return self._matches(best, found.mode, found.candidates)

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
        allow = self.compile(where)
        linear = [(term, term.attribute) for term in terms if isinstance(term.attribute, Linear)]
        found = None
        if len(linear) == len(terms):
            found = self._along(linear, k, allow, after, ascending)
        if found is None:
            last = missing == "last" and len(terms) == 1
            found = self._by_sum(terms, k, allow, after, ascending, missing_last=last)
        return self._matches(found, "exact", allow.count)

    def count(self, where: Where = EVERYTHING) -> int:
        return self.compile(where).count

    def ids(self, where: Where = EVERYTHING) -> list[ImageId]:
        return [ImageId(i) for i in self._rising(where).tolist()]

    def vectors(self, ids: IdList) -> Float32[ndarray, "n d"]:
        return self.matrix.take(self._known.rows_of(ids, strict=True))

    def rows(self, ids: IdList) -> list[ImageRow]:
        return self._known.images(ids, strict=True)

    def find(self, ids: IdList) -> list[ImageRow]:
        return self._known.images(ids)

    def values(self, attribute: Attribute, ids: IdList) -> Float64[ndarray, " n"]:
        rows_N = self._known.rows_of(ids, strict=True)
        if isinstance(attribute, Stored):
            return self._numbers(attribute.field)[rows_N]
        if isinstance(attribute, Words | Phrase):
            return self._words.values(attribute, rows_N)
        if len(rows_N) == 0:
            return np.empty(0)
        return compute(attribute, self.matrix, rows_N).astype(np.float64)

    def groups(self, field: str, ids: IdList) -> Int64[ndarray, " n"]:
        keys_N = self._column(f"keys of {field}", lambda *of: self._parts.fields.keys(field, *of))
        return keys_N[self._known.rows_of(ids, strict=True)]

    def facets(self, field: str, where: Where = EVERYTHING, *, most: int = 100) -> list[Count]:
        mask_N = self.compile(where).mask()
        return self._parts.fields.counts(field, mask_N, self.slots, self._map.rows_of, most)

    def quantiles(
        self, attribute: Attribute, percents: Sequence[float], where: Where = EVERYTHING
    ) -> list[Quantile]:
        allow = self.compile(where)
        sorted_N = self._in_order(attribute, allow)
        count = len(sorted_N)
        if count == 0:
            return []
        value_N = self._values(attribute)
        found = []
        for percent in percents:
            value = sorted_N[
                min(count - 1, int(percent * count / 100 + 1e-9))
            ]  # 0.29 * 100 is not 29 in binary
            row_N = (Bitmap.of_mask(value_N == value) & allow).rows()
            found.append(Quantile(float(value), ImageId(int(self._known.ids_of(row_N[:1])[0]))))
        return found

    def statistics(self, attribute: Attribute, where: Where = EVERYTHING, *, bars: int = 1) -> Statistics:
        value_N = self._values(attribute)[self.compile(where).rows()].astype(np.float64)
        return statistics_of(value_N[~np.isnan(value_N)], bars)

    def tokens(self, word: str, how: Resemblance = "equal", *, most: int = 20) -> list[Count]:
        return self._words.counts(word, how, most)

    def sample(self, most: int) -> Sample:
        rows_N = self._alive.rows()
        rows_N = rows_N[:: max(1, -(-len(rows_N) // most))] if most else rows_N[:0]
        return Sample(self._known.ids_of(rows_N), self.matrix.take(rows_N))

    def scroll(self, *, after: int = 0, limit: int = 100, where: Where = EVERYTHING) -> list[ImageRow]:
        ids_N = self._rising(where)
        first = int(np.searchsorted(ids_N, after, "right"))
        return self._known.images(ids_N[first : first + limit])

    # How.

    def compile(self, where: Where) -> Bitmap:
        """The live rows that meet a condition."""
        match where:
            case Everything():
                return self._alive
            case Matching(condition):
                return self._select(condition)
            case Ids(ids):
                return Bitmap.of(self._known.rows_of(ids), len(self.matrix))
            case Band(Words() | Phrase() as attribute, low, high):
                rows_M, value_M = self._words.matching(attribute)
                return Bitmap.of(rows_M[are_inside(value_M, low, high)], len(self.matrix))
            case Band(attribute, low, high):
                return Bitmap.of_mask(are_inside(self._values(attribute), low, high)) & self._alive
            case And(parts):
                return reduce(Bitmap.__and__, map(self.compile, parts), self._alive)
            case Not(part):
                return self._alive.minus(self.compile(part))

    def _rising(self, where: Where) -> Int64[ndarray, " n"]:
        """Ids of the pictures that meet a condition. Kept, since a list is read page by page."""

        def make() -> Int64[ndarray, " n"]:
            # Nearly in order already, which a stable sort is fast with.
            return np.sort(self._known.ids_of(self.compile(where).rows()), kind="stable")

        if isinstance(where, Everything | Matching):
            return self._ids.get(repr(where), make)
        return make()

    def _select(self, condition: Filter) -> Bitmap:
        def make() -> Bitmap:
            mask_N = self._parts.fields.mask(condition, self.slots, len(self.matrix), self._map.rows_of)
            return Bitmap.of_mask(mask_N) & self._alive

        return self._filters.get(repr(condition), make)  # not the condition itself: to Python, True equals 1

    def _matches(self, found: Scored, mode: Literal["exact", "top_k"], candidates: int) -> Matches:
        return Matches(self._known.ids_of(found.rows_K), found.scores_K, mode, candidates)

    def _along(
        self,
        terms: Sequence[tuple[Term, Linear]],
        k: int,
        allow: Bitmap,
        after: Place | None,
        ascending: bool,
    ) -> Scored | None:
        """The first `k` along the one direction that linear terms add up to; None where a scan costs more."""
        if allow is not self._alive or any(linear.key is None for _, linear in terms):
            is_short = after is None and k <= PLACES
            return self._first_places(terms, k, allow, ascending) if is_short else None
        key = (self.state, ascending, *((linear.key, term.scale, term.offset) for term, linear in terms))
        places = self._parts.places.get(key, lambda: self._first_places(terms, PLACES, allow, ascending))
        rest = np.flatnonzero(self._behind(places.scores_K, places.rows_K, after, ascending))[:k]
        if len(rest) < k and len(places.rows_K) == PLACES:  # the list may go on
            return None
        return Scored(places.scores_K[rest], places.rows_K[rest])

    def _first_places(
        self, terms: Sequence[tuple[Term, Linear]], k: int, allow: Bitmap, ascending: bool
    ) -> Scored:
        """A scan along one direction chooses them; their scores are those that `_by_sum` gives them, to the
        last bit, so that a list may go on with either.
        """
        sign = np.float32(-1 if ascending else 1)
        direction_D = np.zeros(self.dim, np.float32)
        for term, linear in terms:
            direction_D += np.float32(term.scale) * linear.direction_D
        rows_K = self._candidates.best(sign * direction_D, k + MARGIN, allow, EXACT).best.rows_K
        total_K = np.zeros(len(rows_K), np.float64)
        for term, linear in terms:
            total_K += share_of(term, compute(linear, self.matrix, rows_K) if len(rows_K) else np.empty(0))
        order_K = first(total_K if ascending else -total_K, rows_K, k)
        return Scored(as_scores(total_K)[order_K], rows_K[order_K])

    def _by_sum(
        self,
        terms: Sequence[Term],
        k: int,
        allow: Bitmap,
        after: Place | None,
        ascending: bool,
        *,
        missing_last: bool,
    ) -> Scored:
        """The first `k` of all that may come, each of which is scored.

        Their order is that of float64, in which a second of a year is not lost; a page ends at a float32.
        """
        rows_N = allow.rows()
        total_N = np.zeros(len(rows_N), np.float64)
        for term in terms:
            share_N = share_of(term, self._values_at(term.attribute, rows_N))
            total_N += share_N if missing_last else np.nan_to_num(share_N, nan=0.0)
        score_N = as_scores(total_N)
        keep_N = np.flatnonzero(self._behind(score_N, rows_N, after, ascending))
        total_N, score_N, rows_N = total_N[keep_N], score_N[keep_N], rows_N[keep_N]
        age_N = rows_N
        missing = int(np.count_nonzero(np.isnan(score_N)))
        if missing and len(score_N) - missing < k:  # those come into it, in an order that no edit changes
            age_N = self._numbers("id")[rows_N]
        order_K = first(total_N if ascending else -total_N, age_N, k)
        return Scored(score_N[order_K], rows_N[order_K])

    def _behind(
        self,
        score_N: Float32[ndarray, " n"],
        row_N: Int64[ndarray, " n"],
        place: Place | None,
        ascending: bool,
    ) -> ndarray:
        """True for what comes after the last hit of the page before."""
        if place is None:
            return np.ones(len(score_N), bool)
        if place.score is None:
            return np.isnan(score_N) & ~(self._numbers("id")[row_N] <= max(place.ids, default=-1))
        fresh_N = ~np.isin(row_N, self._known.rows_of(place.ids))
        ahead_N = score_N - np.float32(place.score)
        ahead_N = -ahead_N if ascending else ahead_N
        return ~(ahead_N > TIE) & fresh_N  # NaN compares false, so pictures without a value come after

    def _values(self, attribute: Attribute) -> Float[ndarray, " n"]:
        """For every row, NaN for a picture without one; those of deleted pictures mean nothing."""
        if isinstance(attribute, Stored):
            return self._numbers(attribute.field)
        if isinstance(attribute, Words | Phrase):
            return self._words.values(attribute, np.arange(len(self.matrix)))
        return self._parts.values.of(attribute, self.matrix, self.file_set)

    def _values_at(self, attribute: Attribute, rows_N: Int64[ndarray, " n"]) -> Float[ndarray, " n"]:
        """Of some rows: where the values of all are not kept, no others are computed."""
        if isinstance(attribute, Linear) and attribute.key is None:
            return compute(attribute, self.matrix, rows_N) if len(rows_N) else np.empty(0, np.float32)
        if isinstance(attribute, Words | Phrase):
            return self._words.values(attribute, rows_N)
        return self._values(attribute)[rows_N]

    def _in_order(self, attribute: Attribute, allow: Bitmap) -> Float[ndarray, " n"]:
        """The values of the allowed pictures that have one, rising."""

        def make() -> Float[ndarray, " n"]:
            value_N = self._values(attribute)[allow.rows()]
            return np.sort(value_N[~np.isnan(value_N)])

        key = key_of(attribute)
        return self._sorted.get(key, make) if allow is self._alive and key is not None else make()

    def _numbers(self, field: str) -> Float64[ndarray, " n"]:
        """The number in `field` for each row; NaN where a picture has none."""
        return self._column(f"numbers of {field}", lambda *of: self._parts.fields.numbers(field, *of))

    def _column(self, name: str, make: "Callable[[int, int, ToRows], ndarray]") -> ndarray:
        return self._columns.get(name, lambda: make(self.slots, len(self.matrix), self._map.rows_of))
