"""A compiled filter means what the language says: columns against an evaluation in Python."""

import operator
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.collection.collection import DATABASE, Collection
from indexer.errors import InvalidFilterError
from indexer.filters.language import parse_filter
from indexer.types import ImageRow, JSONValue
from indexer.where import Matching
from tests.support.pictures import new_image, unit_vectors

TAGS = ["sea", "boat", "red", "1"]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(TAGS), st.integers(-3, 3), st.booleans(), st.sampled_from([0.5, -1.5])
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.lists(st.sampled_from(TAGS), max_size=3),
        "price": st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -1.5])),
        "sizes": st.lists(st.integers(-3, 3), max_size=3),
        "mixed": SCALARS,
        "nested": st.fixed_dictionaries({}, optional={"deep": SCALARS}),
        "nothing": st.none(),
    },
)
FIELDS = st.sampled_from(["tags", "price", "sizes", "mixed", "nested.deep", "nothing", "absent"])
BOUNDS = st.dictionaries(
    st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(-3, 3), min_size=1, max_size=2
)
CONDITION = st.one_of(
    st.builds(lambda f, v: {"match": {f: v}}, FIELDS, SCALARS),
    st.builds(lambda f, v: {"match": {f: v}}, FIELDS, st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(lambda f, b: {"range": {f: b}}, FIELDS, BOUNDS),
    st.builds(lambda b: {"range": {"taken_at": b}}, BOUNDS),
    st.builds(lambda f: {"exists": f}, st.one_of(FIELDS, st.just("taken_at"))),
    st.builds(lambda v: {"match": {"width": v}}, st.sampled_from([640, 641, 640.0])),
)


def _group(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(children, min_size=1, max_size=2)
    return st.fixed_dictionaries({}, optional={"must": some, "should": some, "must_not": some}).filter(bool)


FILTERS = st.recursive(CONDITION, _group, max_leaves=6)


def value_of(row: ImageRow, field: str) -> object:
    if field in ("taken_at", "width"):
        return getattr(row, field)
    value: Any = dict(row.metadata)
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def same(have: object, want: object) -> bool:
    return isinstance(have, bool) == isinstance(want, bool) and bool(have == want)


def holds(condition: dict[str, Any], row: ImageRow) -> bool:
    """The language, read from its description."""
    if "match" in condition:
        ((field, wanted),) = condition["match"].items()
        have: Any = value_of(row, field)
        have_list = have if isinstance(have, list) else [have]
        want_list = wanted if isinstance(wanted, list) else [wanted]
        return have is not None and any(same(h, w) for h in have_list for w in want_list)
    if "range" in condition:
        ((field, bounds),) = condition["range"].items()
        have = value_of(row, field)
        numbers = [
            one
            for one in (have if isinstance(have, list) else [have])
            if isinstance(one, int | float) and not isinstance(one, bool)
        ]
        compared = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
        return any(all(compared[name](one, bound) for name, bound in bounds.items()) for one in numbers)
    if "exists" in condition:
        return value_of(row, condition["exists"]) is not None
    return (
        all(holds(part, row) for part in condition.get("must", []))
        and ("should" not in condition or any(holds(part, row) for part in condition["should"]))
        and not any(holds(part, row) for part in condition.get("must_not", []))
    )


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection.open(tmp_path_factory.mktemp("filters"), model_id="m", dim=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(METADATA, st.none() | st.integers(-3, 3)), min_size=1, max_size=8), FILTERS)
def test_a_compiled_filter_selects_what_the_language_says(
    collection: Collection, pictures: list[tuple[dict[str, Any], int | None]], document: dict[str, Any]
) -> None:
    images = [
        new_image(i, taken_at=None if taken is None else float(taken), **metadata)
        for i, (metadata, taken) in enumerate(pictures)
    ]
    collection.delete([known.id for known in collection.known().values()])
    ids = collection.add(images, unit_vectors(len(images), 4))
    snapshot = collection.snapshot()
    selected = {row.id for row in snapshot.scroll(where=Matching(parse_filter(document)), limit=100_000)}
    assert selected == {row.id for row in snapshot.rows(ids) if holds(document, row)}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"lte": "2020-12-31"}, {"noon", "morning"}),
        ({"gt": "2020-12-31"}, {"newyear"}),
        ({"gte": "2020-12-31"}, {"noon", "newyear"}),
        ({"lt": "2020-12-31"}, {"morning"}),
        ({"gte": "2020-12-31T12:00:00", "lte": "2020-12-31T12:00:00"}, {"noon"}),
        ({"gte": "2020-12-31T14:00:00+02:00", "lt": "2020-12-31T12:00:01Z"}, {"noon"}),
        ({"gte": seconds("2021-01-01T00:00:00")}, {"newyear"}),
        ({"lte": "9999-12-31"}, {"morning", "noon", "newyear"}),  # the last day that Python knows
        ({"gt": "9999-12-31"}, set()),
    ],
)
def test_a_date_alone_means_its_whole_day(tmp_path: Path, bounds: dict[str, Any], expected: set[str]) -> None:
    collection = Collection.open(tmp_path, model_id="m", dim=4)
    times = {
        "morning": "2020-12-30T08:00:00",
        "noon": "2020-12-31T12:00:00",
        "newyear": "2021-01-01T00:00:00",
    }
    collection.add(
        [new_image(name, taken_at=seconds(text)) for name, text in times.items()], unit_vectors(3, 4)
    )
    snapshot = collection.snapshot()
    rows = snapshot.scroll(where=Matching(parse_filter({"range": {"taken_at": bounds}})), limit=100_000)
    assert {row.uri for row in rows} == {f"/pictures/{name}.png" for name in expected}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "filter: got \\[\\]"),
        ({}, "filter: got {}"),
        ({"must": {}}, r"filter\.must: got {}, expected a list"),
        ({"should": []}, r"filter\.should: an empty list"),
        ({"match": {"a": 1}, "range": {}}, "give each its own"),
        ({"like": 1}, 'got "like", expected must'),
        ({"must": [{"range": {"taken_at": {"gte": "soon"}}}]}, r"filter\.must\[0\]\.range\.taken_at\.gte"),
        ({"range": {"n": {"above": 1}}}, "gt, gte, lt or lte"),
        ({"range": {"n": {"gt": 1, "lt": "b"}}}, "mix texts and numbers"),
        ({"range": {"width": {"gt": "b"}}}, "expected a number"),
        ({"range": {"n": {"gt": None}}}, "got null"),
        ({"match": {"n": None}}, "got null"),
        ({"match": {"n": []}}, "expected 1 to 1000 values"),
        ({"match": {"n": float("nan")}}, "got NaN"),
        ({"match": {"n": 10**400}}, "got 1000.*, expected a text, a number"),  # more than float64 holds
        ({"range": {"n": {"lt": -(10**400)}}}, "got -1000.*, expected a number"),
        ({"range": {"taken_at": {"lt": 10**400}}}, "got 1000.*, expected a date"),
        ({"match": {"taken_at": 1}}, "matched with range"),
        ({"match": {"width": "640"}}, 'got "640", expected a number'),
        ({"match": {"format": True}}, "got true, expected a text"),
        ({"range": {"format": {"gt": 3}}}, "got 3, expected a text"),
        ({"match": {'a"b': 1}}, "no quotes"),
        ({"exists": "a..b"}, "empty steps"),
        ({"exists": 3}, "got 3"),
        (
            {"geo_radius": {"latitude": 1, "longitude": 2}},
            "expected an object with latitude, longitude, radius_m",
        ),
        ({"geo_radius": {"latitude": 91, "longitude": 2, "radius_m": 1}}, "latitude: got 91, .* -90 to 90"),
        ({"geo_radius": {"latitude": 1, "longitude": 181, "radius_m": 1}}, "longitude: got 181"),
        ({"geo_radius": {"latitude": 1, "longitude": 2, "radius_m": -1}}, "radius_m: got -1"),
        ({"geo_radius": {"latitude": 1, "longitude": 2, "radius_m": float("inf")}}, "radius_m: got Infinity"),
        ({"geo_radius": {"latitude": True, "longitude": 2, "radius_m": 1}}, "latitude: got true"),
        ({"geo_radius": 3}, "got 3"),
        ({"geo_box": {"south": 2, "west": 0, "north": 1, "east": 0}}, "south: got 2.0, .* at most 1"),
        ({"geo_box": {"south": 0, "west": "a", "north": 1, "east": 0}}, 'west: got "a"'),
        ({"geo_box": {"south": 0, "west": float("nan"), "north": 1, "east": 0}}, "west: got NaN"),
    ],
)
def test_a_wrong_filter_is_explained(document: object, message: str) -> None:
    with pytest.raises(InvalidFilterError, match=message):
        parse_filter(document)


NAN, INFINITE = float("nan"), float("inf")


def count_of(collection: Collection, condition: dict[str, Any]) -> int:
    return collection.snapshot().count(Matching(parse_filter(condition)))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (NAN, None),
        (-INFINITE, None),
        ([0.5, NAN], [0.5, None]),
        ({"deep": {"er": [INFINITE]}}, {"deep": {"er": [None]}}),
        ("half a letter: \ud83d", "half a letter: ?"),
    ],
)
def test_what_json_cannot_hold_is_stored_as_null_and_every_filter_works(
    tmp_path: Path, given: JSONValue, stored: JSONValue
) -> None:
    collection = Collection.open(tmp_path, model_id="m", dim=4)
    ids = collection.add([new_image(0, score=given), new_image(1, score=2, note="x")], unit_vectors(2, 4))
    assert collection.snapshot().rows([ids[0]])[0].metadata == {"score": stored}
    assert count_of(collection, {"exists": "note"}) == 1
    assert count_of(collection, {"range": {"score": {"gt": 1}}}) == 1
    row = collection.patch(ids[1], {"score": given})
    assert row.metadata.get("score") == stored
    assert count_of(collection, {"exists": "note"}) == 1


def test_a_row_with_nan_that_an_older_version_stored_takes_only_its_own_fields(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="m", dim=4)
    old, _ = collection.add([new_image(0, score=1), new_image(1, score=2, note="x")], unit_vectors(2, 4))
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("""UPDATE image SET metadata = '{"score": NaN}' WHERE id = ?""", (old,))
    connection.close()
    assert count_of(collection, {"exists": "note"}) == 1
    assert count_of(collection, {"range": {"score": {"gt": 0}}}) == 1


def test_nesting_and_size_have_limits() -> None:
    deep: dict[str, Any] = {"exists": "a"}
    for _ in range(9):
        deep = {"must": [deep]}
    with pytest.raises(InvalidFilterError, match="deeper than 8"):
        parse_filter(deep)
    with pytest.raises(InvalidFilterError, match="more than 256"):
        parse_filter({"must": [{"exists": "a"}] * 300})
