"""What filters see: the values of a field for all pictures, in columns that grow with the collection.

A column is read from the database when a filter first asks for its field, and from then on only for slots
that are new: what a slot says never changes (an edited picture gets a new slot). A condition is a few vector
operations, where SQLite would walk every picture's JSON again.

Dimension key   N rows, E values of a field
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from threading import Lock
from typing import cast

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from indexer.filters.geo import are_inside, are_near
from indexer.filters.language import (
    LARGEST,
    LATITUDE,
    LONGITUDE,
    Filter,
    GeoBox,
    GeoRadius,
    Group,
    Match,
    Range,
    Scalar,
)
from indexer.types import Count, JSONValue

ToRows = Callable[[Int64[ndarray, " e"]], Int64[ndarray, " e"]]
"""Slots → rows of a view, -1 where it has none."""

Read = Callable[[str, int, int], Iterable[tuple[int, JSONValue]]]
"""(field, first slot, end) → (slot, value) of the pictures there that have the field."""

COMPARE = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one kind with their slots. A list in the metadata stands for each of its items."""

    slot_E: Int64[ndarray, " e"]
    value_E: ndarray

    def joined(self, slots: list[int], values: list[float] | list[int]) -> "Values":
        if not slots:
            return self
        return Values(
            np.concatenate([self.slot_E, np.array(slots, np.int64)]),
            np.concatenate([self.value_E, np.array(values, self.value_E.dtype)]),
        )


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the slots below `end`; `text_E` holds codes into `words`."""

    end: int
    present_E: Int64[ndarray, " e"]  # slots with any value but null
    numbers: Values
    truths: Values
    texts: Values
    words: dict[str, int]  # in the order of their codes; only ever added to

    @classmethod
    def empty(cls) -> "Column":
        none = np.empty(0, np.int64)
        return cls(
            0,
            none,
            Values(none, np.empty(0, np.float64)),
            Values(none, np.empty(0, np.int32)),
            Values(none, np.empty(0, np.int32)),
            {},
        )

    def extended(self, pairs: Iterable[tuple[int, JSONValue]], end: int) -> "Column":
        """With the pictures of slots [self.end, end)."""
        present: list[int] = []
        number_slots: list[int] = []
        numbers: list[float] = []
        truth_slots: list[int] = []
        truths: list[int] = []
        text_slots: list[int] = []
        texts: list[int] = []
        for slot, value in pairs:
            if value is None:
                continue
            present.append(slot)
            for item in _items(value):
                if isinstance(item, bool):
                    truth_slots.append(slot)
                    truths.append(item)
                elif isinstance(item, int | float):
                    number_slots.append(slot)
                    numbers.append(max(-LARGEST, min(LARGEST, item)))
                elif isinstance(item, str):
                    text_slots.append(slot)
                    texts.append(self.words.setdefault(item, len(self.words)))
        return Column(
            end,
            np.concatenate([self.present_E, np.array(present, np.int64)]),
            self.numbers.joined(number_slots, numbers),
            self.truths.joined(truth_slots, truths),
            self.texts.joined(text_slots, texts),
            self.words,
        )

    def matching(self, wanted: tuple[Scalar, ...]) -> Int64[ndarray, " e"]:
        """Slots with one of the wanted values; true, 1 and "1" are three different ones."""
        truths = [value for value in wanted if isinstance(value, bool)]
        numbers = [
            value for value in wanted if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        codes = [self.words[value] for value in wanted if isinstance(value, str) and value in self.words]
        found = [
            values.slot_E[np.isin(values.value_E, np.array(some, values.value_E.dtype))]
            for values, some in ((self.truths, truths), (self.numbers, numbers), (self.texts, codes))
            if some
        ]
        return np.concatenate([np.empty(0, np.int64), *found])

    def within(self, bounds: tuple[tuple[str, float | str], ...]) -> Int64[ndarray, " e"]:
        """Slots with a value inside all bounds."""
        if isinstance(bounds[0][1], str):
            fits = [word_fits(word, bounds) for word in list(self.words)]
            fits_W = np.array([*fits, False])
            return self.texts.slot_E[fits_W[np.minimum(self.texts.value_E, len(fits))]]
        inside_E = np.ones(len(self.numbers.slot_E), bool)
        for operator, bound in bounds:
            inside_E &= COMPARE[operator](self.numbers.value_E, bound)
        return self.numbers.slot_E[inside_E]


def _items(value: JSONValue) -> list[JSONValue]:
    """Each different value once: a tag that stands twice does not count twice."""
    if not isinstance(value, list):
        return [value]
    scalars = [item for item in value if isinstance(item, str | int | float)]
    return list({(isinstance(item, bool), item): item for item in scalars}.values())


def word_fits(word: str, bounds: tuple[tuple[str, float | str], ...]) -> bool:
    """Texts compare by code point, as SQLite does."""
    compared = {">": word.__gt__, ">=": word.__ge__, "<": word.__lt__, "<=": word.__le__}
    return all(compared[operator](cast("str", bound)) for operator, bound in bounds)


class Fields:
    """Columns of one collection, for every view of it; safe to use from threads."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lock = Lock()  # of the two tables; reading a field takes its own
        self._locks: dict[str, Lock] = {}
        self._columns: dict[str, Column] = {}

    def mask(self, condition: Filter, slots: int, rows: int, to_rows: ToRows) -> Bool[ndarray, " n"]:
        """For each of `rows` rows, whether the picture there meets `condition`; deleted ones may be true."""
        if isinstance(condition, Group):
            return self._group(condition, slots, rows, to_rows)
        if isinstance(condition, GeoRadius | GeoBox):
            lat_N, lon_N = (self.numbers(name, slots, rows, to_rows) for name in (LATITUDE, LONGITUDE))
            find = are_near if isinstance(condition, GeoRadius) else are_inside
            return find(lat_N, lon_N, **asdict(condition))
        column = self._column(condition.field, slots)
        if isinstance(condition, Match):
            found_E = column.matching(condition.values)
        elif isinstance(condition, Range):
            found_E = column.within(condition.bounds)
        else:
            found_E = column.present_E
        mask_N = np.zeros(rows, bool)
        mask_N[_inside(to_rows(found_E), rows)] = True
        return mask_N

    def numbers(self, field: str, slots: int, rows: int, to_rows: ToRows) -> Float64[ndarray, " n"]:
        """The number in `field` of each row, the first where there is a list of them; NaN without one."""
        values = self._column(field, slots).numbers
        row_E = to_rows(values.slot_E)
        inside_E = (row_E >= 0) & (row_E < rows)
        number_N = np.full(rows, np.nan)
        number_N[row_E[inside_E][::-1]] = values.value_E[inside_E][::-1]
        return number_N

    def keys(self, field: str, slots: int, rows: int, to_rows: ToRows) -> Int64[ndarray, " n"]:
        """The group of each row, a number: rows with equal values of `field` have the same; -1 without one.

        Of several values in a list the first counts.
        """
        column = self._column(field, slots)
        key_N = np.full(rows, -1, np.int64)
        first = 0
        for values in (column.texts, column.numbers, column.truths):
            different, code_E = np.unique(values.value_E, return_inverse=True)
            row_E = to_rows(values.slot_E)
            inside_E = (row_E >= 0) & (row_E < rows)
            key_N[row_E[inside_E][::-1]] = first + code_E[inside_E][::-1]
            first += len(different)
        return key_N

    def counts(
        self, field: str, allowed_N: Bool[ndarray, " n"], slots: int, to_rows: ToRows, most: int
    ) -> list[Count]:
        """How many allowed rows have each of the `most` most frequent values, then by value."""
        column = self._column(field, slots)
        found: list[Count] = []
        for values, name in (
            (column.texts, list(column.words).__getitem__),
            (column.numbers, lambda number: int(number) if float(number).is_integer() else float(number)),
            (column.truths, bool),
        ):
            row_E = to_rows(values.slot_E)
            inside_E = (row_E >= 0) & (row_E < len(allowed_N))
            kept_E = np.flatnonzero(inside_E)[allowed_N[row_E[inside_E]]]
            seen, many = np.unique(values.value_E[kept_E], return_counts=True)
            if len(many) > most > 0:  # a million values are of no use to a reader
                least = np.partition(many, -most)[-most]
                above, equal = np.flatnonzero(many > least), np.flatnonzero(many == least)
                by_name = sorted((str(name(seen[at])), at) for at in equal.tolist())
                first = [at for _, at in by_name[: most - len(above)]]
                keep = np.concatenate([above, np.array(first, np.int64)])
                seen, many = seen[keep], many[keep]
            found += [Count(name(value), int(count)) for value, count in zip(seen, many, strict=True)]
        return sorted(found, key=lambda one: (-one.count, str(one.value)))[:most]

    def _group(self, group: Group, slots: int, rows: int, to_rows: ToRows) -> Bool[ndarray, " n"]:
        mask_N = np.ones(rows, bool)
        for part in group.must:
            mask_N &= self.mask(part, slots, rows, to_rows)
        if group.should:
            any_N = np.zeros(rows, bool)
            for part in group.should:
                any_N |= self.mask(part, slots, rows, to_rows)
            mask_N &= any_N
        for part in group.must_not:
            mask_N &= ~self.mask(part, slots, rows, to_rows)
        return mask_N

    def _column(self, field: str, slots: int) -> Column:
        with self._lock:
            column = self._columns.get(field)
            lock = self._locks.setdefault(field, Lock())
        if column is not None and column.end >= slots:
            return column
        with lock:  # reading all pictures may take seconds: other fields do not wait
            column = self._columns.get(field) or Column.empty()
            if column.end < slots:
                column = column.extended(self._read(field, column.end, slots), slots)
                with self._lock:
                    self._columns[field] = column
        return column


def _inside(row_E: Int64[ndarray, " e"], rows: int) -> Int64[ndarray, " e"]:
    return row_E[(row_E >= 0) & (row_E < rows)]
