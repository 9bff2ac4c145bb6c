"""What every store promises, asked of the local one, with and without an index, and of the oracle in memory.

The questions below are asked of all of them, before and after anything happens; answers are compared up to
ties.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.attributes import Attribute, Computed, Linear, Stored, Term
from indexer.collection.collection import Collection
from indexer.errors import InvalidCursorError, NotFoundError
from indexer.filters.language import parse_filter
from indexer.protocols import EXACT, TIE, Matches, Place, Snapshot, Store, Version
from indexer.types import ImageId, JSONValue, NewImage
from indexer.where import EVERYTHING, And, Band, Ids, Matching, Not, Where
from tests.support.build import build
from tests.support.memory_store import MemoryStore
from tests.support.pictures import new_image, unit_vectors

DIM = 16
COUNT = 240
QUERY_D, OTHER_D = unit_vectors(2, DIM, seed=9)
WARM = Linear(unit_vectors(1, DIM, seed=8)[0], "warm")
COOL = Linear(unit_vectors(1, DIM, seed=7)[0])  # without a key: nothing of it is kept
STARS, PRICE = Stored("stars"), Stored("price")
CURVED = Computed(lambda vectors_ND: np.tanh(3 * vectors_ND[:, 0]).astype(np.float64), "curved")
ATTRIBUTES: dict[str, Attribute] = {
    "a direction": WARM,
    "a direction of the moment": COOL,
    "a number with ties and gaps": STARS,
    "a number": PRICE,
    "a function": CURVED,
}


def picture(n: int) -> NewImage:
    """Stars have ties, and every fifth picture has none; fields of every kind."""
    metadata: dict[str, JSONValue] = {"price": (n * 7919) % 1000 / 10, "even": n % 2 == 0}
    tags: list[JSONValue] = ["sea", "boat"]
    metadata["tags"] = tags[: n % 3]
    if n % 5:
        metadata["stars"] = n % 4
    metadata |= {"latitude": -80 + n % 160, "longitude": -170 + n % 340, "nested": {"deep": f"word {n % 6}"}}
    return new_image(n, taken_at=float(n * 1000) if n % 7 else None, **metadata)


def fill(store: Store) -> list[ImageId]:
    """Pictures, some of which were replaced, edited or deleted since."""
    vectors_ND = unit_vectors(COUNT + 20, DIM, seed=1)
    ids = store.add([picture(n) for n in range(COUNT)], vectors_ND[:COUNT])
    store.delete(ids[10:40])
    store.add([picture(n) for n in range(60, 80)], vectors_ND[COUNT:])  # known uris: ids stay
    for n in range(100, 120):
        store.patch(ids[n], {"stars": 9, "caption": f"edited {n}"})
    store.fill({ids[n]: {"late": n, "price": -1} for n in range(130, 140)})
    return store.snapshot().ids()


@dataclass
class Stand:
    store: Store
    ids: list[ImageId]
    oracle: MemoryStore


KINDS = ("local", "local with an index and a tail", "local after its space was reclaimed", "memory")


def make(kind: str, folder: Path) -> Store:
    if kind == "memory":
        return MemoryStore(DIM)
    return Collection.open(folder, model_id="test-1", dim=DIM, exact_rows=0)


@pytest.fixture(params=KINDS)
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    store = make(request.param, tmp_path)
    ids = fill(store)
    oracle = MemoryStore(DIM)
    fill(oracle)
    if isinstance(store, Collection):
        if "index" in request.param:
            build(store, "ivf_sq8")
            for to in (store, oracle):
                to.add([picture(n) for n in range(COUNT, COUNT + 30)], unit_vectors(30, DIM, seed=2))
            ids = store.snapshot().ids()
        if "reclaimed" in request.param:
            build(store, None, reclaim=True)
    yield Stand(store, ids, oracle)
    if isinstance(store, Collection):
        store.close()


def where_of(**conditions: Any) -> Where:  # noqa: ANN401  # the filter language
    return Matching(parse_filter(conditions))


WHERES: dict[str, Where] = {
    "everything": EVERYTHING,
    "a match": where_of(match={"tags": ["boat"]}),
    "a truth": where_of(match={"even": True}),
    "a range": where_of(range={"price": {"gte": 20, "lt": 60}}),
    "a range of texts": where_of(range={"nested.deep": {"gte": "word 3"}}),
    "a column": where_of(range={"taken_at": {"lt": "1970-01-02"}}),
    "a field that is there": where_of(exists="caption"),
    "a place": where_of(geo_radius={"latitude": 0, "longitude": 0, "radius_m": 4_000_000}),
    "a box": where_of(geo_box={"south": -20, "west": 150, "north": 60, "east": -150}),
    "ids, some of them unknown": Ids(tuple(ImageId(i) for i in (5, 3, 200, 20, 100_000))),
    "no ids": Ids(()),
    "not some ids": Not(Ids(tuple(ImageId(i) for i in range(1, 30)))),
    "not many ids": Not(Ids(tuple(ImageId(i) for i in range(1, 200)))),
    "a band": Band(WARM, -0.1, 0.2),
    "a band without an end": Band(PRICE, 50.0, None),
    "a band of a field with gaps": Band(STARS, 1.0, 3.0),
    "not a band": Not(Band(STARS, 1.0, 3.0)),
    "a band of a function": Band(CURVED, 0.0, 0.5),
    "all of nothing": And(()),
    "all of some": And((where_of(match={"even": False}), Not(Ids((ImageId(2),))), Band(PRICE, 10.0, 90.0))),
    "not all of some": Not(And((where_of(exists="stars"), Not(Band(STARS, 2.0, None))))),
}
SUMS: dict[str, list[Term]] = {
    "one direction": [Term(WARM)],
    "one direction, scaled": [Term(WARM, -2.0, 0.1)],
    "one direction, far from its offset": [Term(WARM, 40.0, 25.0)],
    "two directions": [Term(WARM, 0.5), Term(COOL, 1.5, 0.2)],
    "a field with ties and gaps": [Term(STARS, 2.0, 1.0)],
    "a function": [Term(CURVED)],
    "all together": [Term(COOL), Term(STARS, 0.3, 1.5), Term(CURVED, 0.5, 0.1), Term(PRICE, 0.001)],
}

Answer = dict[str, Any]
Question = Callable[[Snapshot], Answer]


def asked_of(ask: Callable[..., Answer], *arguments: object) -> Question:
    return lambda snapshot: ask(snapshot, *arguments)


def questions() -> dict[str, Question]:
    asked: dict[str, Question] = {}
    for name, where in WHERES.items():
        for kind, ask in OF_A_WHERE.items():
            asked[f"{kind}, {name}"] = asked_of(ask, where)
    for name, terms in SUMS.items():
        for rising in (False, True):
            for missing in ("last", "average"):
                for k in (7, 500):
                    how = f"rising {rising}, missing {missing}, {k} of them"
                    asked[f"order by {name}, {how}"] = asked_of(in_order, terms, k, rising, missing)
    for name, attribute in ATTRIBUTES.items():
        for kind, question in OF_AN_ATTRIBUTE.items():
            asked[f"{kind} of {name}"] = asked_of(question, attribute)
    asked["rows"] = lambda s: {"rows": s.rows(s.ids()[::-3])}
    asked["find"] = lambda s: {"rows": s.find([100_000, *s.ids()[5:9], 15])}
    asked["vectors"] = lambda s: {"values": s.vectors(s.ids()[::5])}
    asked["groups"] = lambda s: {"same": equal_to_each_other(s.groups("tags", s.ids()))}
    asked["groups of a truth"] = lambda s: {"same": equal_to_each_other(s.groups("even", s.ids()))}
    asked["what it is"] = lambda s: {"images": s.images, "dim": s.dim}
    return asked


OF_A_WHERE: dict[str, Callable[[Snapshot, Where], Answer]] = {
    "nearest": lambda s, w: matched(s.nearest(QUERY_D, 12, w, recall=EXACT), s.count(w)),
    "count and ids": lambda s, w: {"count": s.count(w), "ids": s.ids(w)},
    "order": lambda s, w: matched(s.order([Term(PRICE), Term(WARM)], 15, w), s.count(w)),
    "scroll": lambda s, w: {"rows": s.scroll(after=7, limit=9, where=w)},
    "facets": lambda s, w: {"counts": s.facets("tags", w)},
    "the first facets": lambda s, w: {"counts": [one.count for one in s.facets("price", w, most=3)]},
    "quantiles": lambda s, w: {"values": [one.value for one in s.quantiles(STARS, (0, 29, 50, 100), w)]},
    "statistics": lambda s, w: {"statistics": s.statistics(PRICE, w, bars=4)},
}
PERCENTS = (0, 1, 29, 50, 99.9, 100)
OF_AN_ATTRIBUTE: dict[str, Callable[[Snapshot, Attribute], Answer]] = {
    "values": lambda s, a: {"values": s.values(a, s.ids()[::7][::-1])},
    "quantiles": lambda s, a: {"values": [one.value for one in s.quantiles(a, PERCENTS)]},
    "what pictures at quantiles lack": lambda s, a: {
        "values": [s.values(a, [one.id])[0] - one.value for one in s.quantiles(a, PERCENTS)]
    },
    "statistics": lambda s, a: {"statistics": s.statistics(a, bars=5)},
}


def in_order(
    snapshot: Snapshot, terms: Sequence[Term], k: int, rising: bool, missing: Literal["last", "average"]
) -> Answer:
    return matched(snapshot.order(terms, k, ascending=rising, missing=missing), snapshot.images)


def matched(found: Matches, candidates: int) -> Answer:
    """Ids of equal scores in one set; the last set may be any of more that tie."""
    groups: list[tuple[float, set[int]]] = []
    for image_id, score in zip(found.ids_K.tolist(), found.scores_K.tolist(), strict=True):
        is_same = bool(groups) and (abs(groups[-1][0] - score) <= 1e-5 or np.isnan(groups[-1][0] + score))
        if is_same and not np.isnan(score):
            groups[-1][1].add(image_id)
        else:  # those without a value stand one by one, by rising id
            groups.append((score, {image_id}))
    sizes = [len(ids) for _, ids in groups]
    cut = len(found.ids_K) < candidates and bool(groups) and not np.isnan(groups[-1][0])
    return {
        "values": found.scores_K,
        "groups": [ids for _, ids in (groups[:-1] if cut else groups)],
        "sizes": sizes,
        "mode": found.mode,
    }


def equal_to_each_other(keys: Sequence[int] | np.ndarray) -> list[list[int]]:
    positions: dict[int, list[int]] = {}
    for n, key in enumerate(keys):
        positions.setdefault(int(key), []).append(n)
    return [*sorted(positions.values()), positions.get(-1, [])]


def assert_same(one: Answer, other: Answer, name: str) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if key == "values":
            np.testing.assert_allclose(value, other[key], atol=2e-5, err_msg=name)
        elif key == "statistics":
            for field in ("count", "mean", "std", "counts_B", "edges_B"):
                if field != "counts_B":  # a value at an edge may fall on either side in its last digit
                    first, second = getattr(value, field), getattr(other[key], field)
                    np.testing.assert_allclose(first, second, atol=1e-4, err_msg=f"{name}: {field}")
            assert value.counts_B.sum() == other[key].counts_B.sum(), name
        elif key == "rows":
            assert [plain(row) for row in value] == [plain(row) for row in other[key]], name
        else:
            assert value == other[key], f"{name}: {key}"


def plain(row: Any) -> Any:  # noqa: ANN401
    return (row.id, row.uri, row.sha256, row.taken_at, dict(row.metadata))


def answers(snapshot: Snapshot) -> dict[str, Answer]:
    return {name: ask(snapshot) for name, ask in questions().items()}


def assert_all_same(one: dict[str, Answer], other: dict[str, Answer]) -> None:
    for name, answer in one.items():
        assert_same(answer, other[name], name)


def test_every_question_is_answered_as_the_oracle_answers_it(stand: Stand) -> None:
    assert_all_same(answers(stand.store.snapshot()), answers(stand.oracle.snapshot()))


def test_an_approximate_search_gives_exact_scores_of_pictures_that_may_come(stand: Stand) -> None:
    snapshot = stand.store.snapshot()
    for name, where in WHERES.items():
        found = snapshot.nearest(QUERY_D, 10, where, recall=0.9)
        assert set(found.ids_K.tolist()) <= set(snapshot.ids(where)), name
        np.testing.assert_allclose(found.scores_K, snapshot.vectors(found.ids_K) @ QUERY_D, atol=1e-5)
        assert (np.diff(found.scores_K) <= TIE).all()


def change_everything(store: Store, ids: list[ImageId]) -> None:
    """Everything that can happen: additions, deletions, edits, an index, a new file set."""
    store.patch(ids[0], {"stars": 100, "tags": ["new"]})
    store.delete(ids[1:50:3])
    store.fill({i: {"note": 1} for i in ids[2:200:5]})
    store.add([picture(n) for n in range(150, 170)], unit_vectors(20, DIM, seed=3))  # replaced
    store.add([picture(n) for n in range(1000, 1030)], np.repeat(QUERY_D[None], 30, axis=0))
    store.delete(ids[60:64])
    if isinstance(store, Collection):
        build(store, "ivf_sq8")
        build(store, None, reclaim=True)
        store.patch(ids[-1], {"stars": 50})


def test_a_snapshot_never_changes(stand: Stand) -> None:
    snapshot = stand.store.snapshot()
    before = answers(snapshot)
    change_everything(stand.store, stand.ids)
    assert_all_same(answers(snapshot), before)


def test_a_snapshot_that_was_not_asked_before_does_not_change_either(stand: Stand) -> None:
    """Nothing of it was read when the changes came."""
    snapshot, before = stand.store.snapshot(), answers(stand.store.snapshot())
    if isinstance(stand.store, Collection):
        other = Collection.open(stand.store.folder.parent, model_id="test-1", dim=DIM)
        snapshot = other.snapshot()
        change_everything(stand.store, stand.ids)
        assert_all_same(answers(snapshot), before)
        other.close()


def edit(store: Store, ids: list[ImageId]) -> None:
    """Edits and additions, without deletions and a new file set."""
    for n, image_id in enumerate(ids[::9]):
        store.patch(image_id, {"stars": 50 + n, "tags": [f"later {n}"]})
    store.add([picture(n) for n in range(150, 170)], unit_vectors(20, DIM, seed=3))
    store.add([picture(n) for n in range(2000, 2020)], np.repeat(QUERY_D[None], 20, axis=0))
    store.patch(ids[0], {"stars": 77})


def test_an_earlier_version_is_answered_as_it_was(stand: Stand) -> None:
    before, version = answers(stand.store.snapshot()), stand.store.snapshot().version
    edit(stand.store, stand.ids)
    earlier = stand.store.snapshot(version)
    assert earlier.version == version < stand.store.snapshot().version
    assert_all_same(answers(earlier), before)


def test_every_version_on_the_way_is_answered_as_it_was(stand: Stand) -> None:
    stars: list[tuple[Version, list[float]]] = []
    image_id = stand.ids[3]
    for n in range(4):
        stand.store.patch(image_id, {"stars": n})
        snapshot = stand.store.snapshot()
        stars.append((snapshot.version, snapshot.values(STARS, [image_id]).tolist()))
    for version, expected in stars:
        assert stand.store.snapshot(version).values(STARS, [image_id]).tolist() == expected


def test_pictures_that_were_deleted_since_are_in_no_earlier_version(stand: Stand) -> None:
    version, ids = stand.store.snapshot().version, stand.store.snapshot().ids()
    edit(stand.store, stand.ids)
    gone = [*ids[5:9], ids[0]]
    stand.store.delete(gone)
    earlier = stand.store.snapshot(version)
    assert earlier.ids() == [i for i in ids if i not in gone]
    with pytest.raises(NotFoundError, match=rf"no image with id {gone[0]}$"):
        earlier.rows([ids[12], gone[0]])


def test_after_its_space_was_reclaimed_an_earlier_version_has_the_same_pictures(stand: Stand) -> None:
    version, ids = stand.store.snapshot().version, stand.store.snapshot().ids()
    edit(stand.store, stand.ids)
    if isinstance(stand.store, Collection):
        build(stand.store, None, reclaim=True)
    assert stand.store.snapshot(version).ids() == ids


def test_a_version_outlives_the_process(stand: Stand) -> None:
    if not isinstance(stand.store, Collection):
        return
    before, version = answers(stand.store.snapshot()), stand.store.snapshot().version
    edit(stand.store, stand.ids)
    again = Collection.open(stand.store.folder.parent, model_id="test-1", dim=DIM)
    assert_all_same(answers(again.snapshot(Version(version.number, version.detail))), before)
    again.close()


@pytest.mark.parametrize("detail", [(), (1,), (1, 2, 3), (-1, 5), (5, -1), (2**61, -(2**61))])
def test_a_version_that_never_was_is_refused(stand: Stand, detail: tuple[int, ...]) -> None:
    with pytest.raises(InvalidCursorError):
        stand.store.snapshot(Version(-3, detail))


def test_a_version_with_huge_numbers_harms_nobody(stand: Stand) -> None:
    try:
        found = stand.store.snapshot(Version(2**61, (2**61, 2**61)))
    except InvalidCursorError:
        return
    assert set(found.ids()) <= set(stand.store.snapshot().ids())


@pytest.mark.parametrize("where", [EVERYTHING, where_of(range={"id": {"gte": 1}})], ids=["all", "filtered"])
@pytest.mark.parametrize("rising", [False, True])
@pytest.mark.parametrize("name", SUMS)
def test_pages_behind_a_place_hold_every_picture_once(
    stand: Stand, name: str, rising: bool, where: Where
) -> None:
    snapshot, shown = stand.store.snapshot(), list[int]()
    place: Place | None = None
    ties: list[int] = []
    for _ in range(100):
        found = snapshot.order(SUMS[name], 23, where, after=place, ascending=rising, missing="last")
        if not len(found.ids_K):
            break
        shown += found.ids_K.tolist()
        last = float(found.scores_K[-1])
        if np.isnan(last):
            place = Place(None, (ImageId(int(found.ids_K[-1])),))
            continue
        tied = found.ids_K[np.abs(found.scores_K - last) <= TIE].tolist()
        goes_on = place is not None and place.score is not None and abs(place.score - last) <= TIE
        ties = [*ties, *tied] if goes_on else tied
        place = Place(last, tuple(map(ImageId, ties)))
    assert sorted(shown) == stand.ids
    assert shown[:23] == snapshot.order(SUMS[name], 23, ascending=rising, missing="last").ids_K.tolist()


@pytest.mark.parametrize("ask", ["rows", "vectors", "values", "groups"])
def test_an_unknown_id_is_named(stand: Stand, ask: str) -> None:
    snapshot = stand.store.snapshot()
    asked: dict[str, Callable[[list[int]], object]] = {
        "rows": snapshot.rows,
        "vectors": snapshot.vectors,
        "values": lambda ids: snapshot.values(WARM, ids),
        "groups": lambda ids: snapshot.groups("tags", ids),
    }
    with pytest.raises(NotFoundError, match=r"no image with id 4321$"):
        asked[ask]([stand.ids[0], 4321, 99_999])


def test_ids_are_never_used_again(stand: Stand) -> None:
    most = max(stand.ids)
    stand.store.delete([most])
    (new,) = stand.store.add([picture(5000)], unit_vectors(1, DIM))
    assert new > most
    assert stand.store.add([picture(5000)], unit_vectors(1, DIM, seed=4)) == [new]  # the same picture


def test_writes_grow_with_every_picture_that_is_added_or_edited(stand: Stand) -> None:
    before = stand.store.snapshot().writes
    stand.store.patch(stand.ids[0], {"stars": 1})
    stand.store.add([picture(6000), picture(6001)], unit_vectors(2, DIM))
    assert stand.store.snapshot().writes == before + 3


def test_a_sample_is_always_the_same_and_no_larger_than_asked_for(stand: Stand) -> None:
    snapshot = stand.store.snapshot()
    first, again = snapshot.sample(50), snapshot.sample(50)
    assert 25 <= len(first.ids_N) <= 50
    np.testing.assert_array_equal(first.ids_N, again.ids_N)
    np.testing.assert_array_equal(first.vectors_ND, snapshot.vectors(first.ids_N))
    assert sorted(snapshot.sample(10_000).ids_N.tolist()) == stand.ids


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 12), st.integers(0, 3)),
        st.tuples(st.just("patch"), st.integers(0, 30), st.integers(0, 3)),
        st.tuples(st.just("fill"), st.integers(0, 30), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 30), st.integers(0, 3)),
        st.tuples(st.just("reclaim"), st.just(0), st.just(0)),
    ),
    max_size=14,
)


@given(OPERATIONS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_leads_to_the_same_answers(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int]]
) -> None:
    local: Store = Collection.open(tmp_path_factory.mktemp("history"), model_id="test-1", dim=DIM)
    oracle = MemoryStore(DIM)
    versions: list[tuple[Version | None, Version | None]] = []
    for kind, n, m in operations:
        if kind == "reclaim":
            assert isinstance(local, Collection)
            build(local, None, reclaim=True)
            versions.clear()  # from here on, edited pictures may be shown as they are
            continue
        for store in (local, oracle):
            apply(store, kind, n, m)
        versions.append((local.snapshot().version, oracle.snapshot().version))
    for at_local, at_oracle in [*versions[-3:], (None, None)]:
        one, other = local.snapshot(at_local), oracle.snapshot(at_oracle)
        assert one.ids() == other.ids()
        assert [plain(row) for row in one.scroll(limit=100)] == [
            plain(row) for row in other.scroll(limit=100)
        ]
        np.testing.assert_array_equal(one.vectors(one.ids()), other.vectors(one.ids()))
        for terms in SUMS.values():
            found, expected = one.order(terms, 100, missing="last"), other.order(terms, 100, missing="last")
            assert_same(matched(found, 0), matched(expected, 0), "order")
    assert isinstance(local, Collection)
    local.close()


def apply(store: Store, kind: str, n: int, m: int) -> None:
    ids = store.snapshot().ids()
    chosen = ids[n : n + m + 1]
    match kind:
        case "add":
            store.add([picture(n + i) for i in range(m + 1)], unit_vectors(m + 1, DIM, seed=n))
        case "patch" if chosen:
            store.patch(chosen[0], {"stars": m, "tags": None if m else ["x"]})
        case "fill":
            store.fill({i: {"late": m, "stars": 3} for i in chosen})
        case "delete":
            store.delete(chosen)
