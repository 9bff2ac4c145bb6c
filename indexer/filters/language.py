"""The filter language: JSON → a checked tree, which `indexer.filters.columns` evaluates.

    {"must": [C, …], "should": [C, …], "must_not": [C, …]}     all of, at least one of, none of
    {"match": {"format": "jpeg"}}  {"match": {"tags": ["sea", "boat"]}}     equals, or contains one of
    {"range": {"taken_at": {"gte": "2020-01-01", "lt": "2021-01-01"}}}      gt, gte, lt, lte
    {"exists": "caption"}
    {"geo_radius": {"latitude": 59.91, "longitude": 10.75, "radius_m": 5000}}
    {"geo_box": {"south": 57.9, "west": 4.5, "north": 71.2, "east": 31.1}}

Groups nest, and a bare condition is a filter. A field is a column (`COLUMNS`) or a key of the metadata; dots
lead into nested objects. A list stands for each of its items. A picture without the field matches none of
match, range and exists, and one without a place, `latitude` and `longitude` in its metadata, neither
geo_radius nor geo_box. A box goes east from `west` to `east`: over the antimeridian if `west` is larger.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from indexer.errors import InvalidFilterError

TIMES = frozenset({"taken_at", "added_at"})
NUMBERS = frozenset({"id", "width", "height", "size"})
TEXTS = frozenset({"uri", "sha256", "format"})
COLUMNS = TIMES | NUMBERS | TEXTS

DEEPEST = 8
MOST_CONDITIONS = 256
MOST_VALUES = 1000
OPERATORS: Mapping[str, str] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

LARGEST = 1.7e308  # JSON knows larger integers, float64 does not
KINDS = "must, should, must_not, match, range, exists, geo_radius or geo_box"
LATITUDE, LONGITUDE = "latitude", "longitude"  # fields of the metadata, from EXIF or a sidecar

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Match:
    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`bounds` holds (operator of SQL, value); values are of one kind: numbers, or texts."""

    field: str
    bounds: tuple[tuple[str, float | str], ...]


@dataclass(frozen=True, slots=True)
class Exists:
    field: str


@dataclass(frozen=True, slots=True)
class GeoRadius:
    """At most `radius_m` metres along the surface from a point."""

    latitude: float
    longitude: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class GeoBox:
    """Its edges belong to it. East of `west` and west of `east`, wherever the antimeridian lies."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Group:
    must: tuple["Filter", ...]
    should: tuple["Filter", ...]
    must_not: tuple["Filter", ...]


Filter = Group | Match | Range | Exists | GeoRadius | GeoBox


def parse_filter(document: object) -> Filter:
    """Check a filter as it came from JSON. InvalidFilterError says where it is wrong, and how."""
    return _Parser().parse(document, "filter", 0)


def parse_filter_text(text: str) -> Filter:
    """Check a filter in its written form."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFilterError(f"the filter is not JSON: {error}") from error
    return parse_filter(document)


class _Parser:
    def __init__(self) -> None:
        self._conditions = 0

    def parse(self, document: object, where: str, depth: int) -> Filter:
        if not isinstance(document, dict) or not document:
            raise _wrong(where, document, f"an object with {KINDS}")
        if depth > DEEPEST:
            raise InvalidFilterError(f"{where}: nested deeper than {DEEPEST} levels")
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            raise InvalidFilterError(f"{where}: more than {MOST_CONDITIONS} conditions")
        if document.keys() <= {"must", "should", "must_not"}:
            return Group(
                *(self._list(document, name, where, depth) for name in ("must", "should", "must_not"))
            )
        if len(document) > 1:
            raise InvalidFilterError(
                f"{where}: {', '.join(sorted(map(str, document)))} stand in one object: "
                "give each its own, inside must, should or must_not"
            )
        ((kind, body),) = document.items()
        readers: dict[str, Callable[[object, str], Filter]] = {
            "match": _match,
            "range": _range,
            "exists": lambda name, place: Exists(field_name(name, place)),
            "geo_radius": _geo_radius,
            "geo_box": _geo_box,
        }
        if kind not in readers:
            raise _wrong(where, kind, KINDS)
        return readers[kind](body, f"{where}.{kind}")

    def _list(self, document: dict[str, Any], name: str, where: str, depth: int) -> tuple[Filter, ...]:
        parts = document.get(name, [])
        if not isinstance(parts, list):
            raise _wrong(f"{where}.{name}", parts, "a list of conditions")
        if name in document and name == "should" and not parts:
            raise InvalidFilterError(f"{where}.should: an empty list can never match: leave it out")
        return tuple(self.parse(part, f"{where}.{name}[{i}]", depth + 1) for i, part in enumerate(parts))


def _match(body: object, where: str) -> Match:
    field, value = _one_field(body, where, "a value or a list of values")
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MOST_VALUES:
        raise InvalidFilterError(f"{where}.{field}: expected 1 to {MOST_VALUES} values, got {len(values)}")
    for one in values:
        if not isinstance(one, str | int | float) or not _is_usual(one):
            raise _wrong(f"{where}.{field}", one, "a text, a number, true or false")
    if field in TIMES:
        raise InvalidFilterError(f"{where}.{field}: a time is matched with range")
    for one in values:
        if field in COLUMNS and (isinstance(one, bool) or isinstance(one, str) != (field in TEXTS)):
            raise _wrong(f"{where}.{field}", one, "a text" if field in TEXTS else "a number")
    return Match(field, tuple(values))


def _range(body: object, where: str) -> Range:
    field, bounds = _one_field(body, where, "an object with gt, gte, lt or lte")
    place = f"{where}.{field}"
    if not isinstance(bounds, dict) or not bounds or not bounds.keys() <= OPERATORS.keys():
        raise _wrong(place, bounds, "an object with gt, gte, lt or lte")
    read = _time_bound if field in TIMES else _bound
    checked = tuple(read(name, value, f"{place}.{name}") for name, value in bounds.items())
    if len({isinstance(value, str) for _, value in checked}) > 1:
        raise InvalidFilterError(f"{place}: its bounds mix texts and numbers")
    if field in COLUMNS and isinstance(checked[0][1], str) != (field in TEXTS):
        raise _wrong(place, checked[0][1], "a text" if field in TEXTS else "a number")
    return Range(field, checked)


def _bound(name: str, value: object, where: str) -> tuple[str, float | str]:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _is_usual(value):
        raise _wrong(where, value, "a number or a text")
    return OPERATORS[name], value


def _is_usual(value: Scalar) -> bool:
    """A text, or a number that float64 holds; NaN is not."""
    return isinstance(value, str) or abs(value) <= LARGEST


def _time_bound(name: str, value: object, where: str) -> tuple[str, float]:
    """A date alone means its whole day: `lte` includes the day, `gt` begins after it."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
        return OPERATORS[name], float(value)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or not isinstance(value, str):
        raise _wrong(
            where, value, "a date such as 2020-01-31, a date and time (ISO 8601), or seconds since 1970"
        )
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if len(value) == len("2020-01-31") and name in ("lte", "gt"):
        return ("<" if name == "lte" else ">="), zoned.timestamp() + timedelta(days=1).total_seconds()
    return OPERATORS[name], zoned.timestamp()


def _geo_radius(body: object, where: str) -> GeoRadius:
    circle = GeoRadius(**_numbers(body, where, {LATITUDE: 90.0, LONGITUDE: 180.0, "radius_m": math.inf}))
    if circle.radius_m < 0:
        raise _wrong(f"{where}.radius_m", circle.radius_m, "metres, 0 or more")
    return circle


def _geo_box(body: object, where: str) -> GeoBox:
    box = GeoBox(**_numbers(body, where, {"south": 90.0, "west": 180.0, "north": 90.0, "east": 180.0}))
    if box.south > box.north:
        raise _wrong(f"{where}.south", box.south, f"a latitude of at most {box.north:g}, which is its north")
    return box


def _numbers(body: object, where: str, largest: Mapping[str, float]) -> dict[str, float]:
    """Each of the names in `largest`, between minus that and that."""
    if not isinstance(body, dict) or body.keys() != largest.keys():
        raise _wrong(where, body, f"an object with {', '.join(largest)}")
    for name, most in largest.items():
        value = body[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= min(most, LARGEST):
            raise _wrong(
                f"{where}.{name}", value, "a number" + ("" if most > 180 else f" from -{most:g} to {most:g}")
            )
    return {name: float(body[name]) for name in largest}


def _one_field(body: object, where: str, expected: str) -> tuple[str, Any]:
    if not isinstance(body, dict) or len(body) != 1:
        raise _wrong(where, body, f"one field with {expected}")
    ((field, value),) = body.items()
    return field_name(field, where), value


def field_name(name: object, where: str = "field") -> str:
    """`name` if it can be one; InvalidFilterError otherwise."""
    if not isinstance(name, str) or not 1 <= len(name) <= 200 or '"' in name or "\0" in name:
        raise _wrong(where, name, "the name of a field: 1 to 200 characters, no quotes")
    if any(not step for step in name.split(".")):
        raise _wrong(where, name, "the name of a field without empty steps between its dots")
    return name


def _wrong(where: str, value: object, expected: str) -> InvalidFilterError:
    shown = json.dumps(value, default=str, ensure_ascii=False)[:80]
    return InvalidFilterError(f"{where}: got {shown}, expected {expected}")
