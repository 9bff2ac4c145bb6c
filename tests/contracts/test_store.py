"""The law of `indexer.protocols.Store` and `Snapshot`, on every implementation.

`mirror` answers from the rows and vectors of a snapshot alone, by looking at each picture: what a store says
to any question has to follow from those.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from indexer.attributes import Linear, Stored, Term
from indexer.collection.collection import Collection
from indexer.errors import NotFoundError
from indexer.protocols import EXACT, TIE, Place, Snapshot, Store
from indexer.types import ImageId
from indexer.where import EVERYTHING, Band, Ids, Not
from tests.support.memory_store import MemoryStore
from tests.support.pictures import new_image, unit_vectors
from tests.support.store_questions import (
    ACROSS,
    ALONG,
    ATTRIBUTES,
    DIM,
    HALF,
    PRICE,
    SUMS,
    TAKEN,
    Missing,
    N,
    assert_agree,
    assert_agree_under,
    mirror,
    pages,
    picture,
    vectors,
    wheres,
)
from tests.support.stores import close, open_local, tidy

COVERED, BEHIND = 120, 24  # pictures that an index covers, and those behind it


STORES = ("local", "local with an index", "memory")


@pytest.fixture(scope="module", params=STORES)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """Pictures that were added, edited and deleted, before an index was built over them and after."""
    folder = tmp_path_factory.mktemp("store")
    made: Store = MemoryStore("m", DIM) if request.param == "memory" else open_local(folder)
    ids = made.add([picture(name) for name in range(COVERED)], vectors(COVERED))
    edit(made, ids[:40])
    if request.param == "local with an index":
        tidy(made, reclaim=False)
    late = made.add([picture(name) for name in range(COVERED, COVERED + BEHIND)], vectors(BEHIND, seed=1))
    edit(made, [*ids[60:80], *late[:8]])
    yield made.snapshot()
    close(made)


def edit(store: Store, ids: list[ImageId]) -> None:
    """Delete a quarter, and change as many in each of the three ways."""
    names = [int(row.uri.rpartition("/")[2].removesuffix(".png")) for row in store.snapshot().rows(ids)]
    store.delete(ids[::4])
    for image_id in ids[1::4]:
        store.patch(image_id, {"n": 6, "price": None, "taken_at": "2020-01-03"})
    store.fill({image_id: {"n": 0, "price": 2.5, "deep": {"er": 9, "fill": 1}} for image_id in ids[2::4]})
    store.add([picture(name, seed=1) for name in names[3::4]], vectors(len(names[3::4]), seed=2))


def test_every_answer_follows_from_the_rows_and_vectors(full: Snapshot) -> None:
    assert_agree(full, mirror(full))


@pytest.mark.parametrize("at", range(len(wheres([ImageId(1)]))))
def test_a_condition_means_the_same_to_every_question(full: Snapshot, at: int) -> None:
    assert_agree_under(full, mirror(full), wheres(full.ids())[at])


@pytest.mark.parametrize("recall", [0.5, 0.95, EXACT])
def test_scores_are_exact_whatever_proposed_the_pictures(full: Snapshot, recall: float) -> None:
    like = mirror(full)
    for where in (EVERYTHING, Band(N, 1.0, None), Not(Ids(tuple(full.ids()[:3])))):
        for direction_D in unit_vectors(10, DIM, seed=3):
            found = full.nearest(direction_D, 10, where, recall=recall)
            assert found.candidates >= len(found.ids_K) == 10
            assert_matches_own_scores(like, found.ids_K.tolist(), found.scores_K, direction_D)
            assert (np.diff(found.scores_K) <= 0).all()
            assert set(found.ids_K.tolist()) <= set(like.ids(where))


def assert_matches_own_scores(
    like: Snapshot, ids: list[int], scores_K: ndarray, direction_D: ndarray
) -> None:
    assert len(set(ids)) == len(ids)
    np.testing.assert_allclose(scores_K, like.values(Linear(direction_D), ids), atol=2e-6)


def test_nearest_finds_the_share_of_the_best_that_was_asked_for(full: Snapshot) -> None:
    like, found, modes = mirror(full), 0, set[str]()
    for direction_D in unit_vectors(50, DIM, seed=4):
        best = full.nearest(direction_D, 10, recall=0.9)
        modes.add(best.mode)
        found += len(set(best.ids_K.tolist()) & set(like.nearest(direction_D, 10).ids_K.tolist()))
    assert found >= 0.9 * 500
    assert modes == (
        {"top_k"} if getattr(full, "covered_rows", 0) else {"exact"}
    )  # an index is used where there is one


def test_what_came_after_the_index_is_found_too(full: Snapshot) -> None:
    for image_id in full.ids()[-10:]:
        (vector_D,) = full.vectors([image_id])
        assert image_id in full.nearest(vector_D, 5).ids_K


def test_equal_scores_come_in_an_order_that_does_not_change(store: Store) -> None:
    same_ND = np.repeat(vectors(1), 40, axis=0)
    ids = store.add([picture(name) for name in range(40)], same_ND)
    snapshot = store.snapshot()
    first = snapshot.nearest(same_ND[0], 12, recall=EXACT).ids_K.tolist()
    assert len(set(first)) == 12
    assert set(first) <= set(ids)
    assert all(snapshot.nearest(same_ND[0], 12, recall=EXACT).ids_K.tolist() == first for _ in range(3))


def test_a_picture_without_a_value_stands_behind_all_others_by_rising_id(store: Store) -> None:
    ids = store.add([new_image(name, **({"x": name} if name % 2 else {})) for name in range(9)], vectors(9))
    store.patch(ids[2], {"y": 1})  # an edit changes where it lies, and nothing else
    for ascending in (False, True):
        found = store.snapshot().order([Term(Stored("x"))], 9, ascending=ascending, missing="last")
        rising = [ids[1], ids[3], ids[5], ids[7]]
        assert found.ids_K.tolist() == [*(rising if ascending else rising[::-1]), *ids[::2]]
        assert np.isnan(found.scores_K[4:]).all()


def test_a_missing_value_counts_as_the_offset_of_its_term(store: Store) -> None:
    ids = store.add([new_image(0, x=1), new_image(1), new_image(2, x=9)], vectors(3))
    found = store.snapshot().order([Term(Stored("x"), 2.0, offset=4.0)], 3)
    assert found.ids_K.tolist() == [ids[2], ids[1], ids[0]]
    assert found.scores_K.tolist() == [10.0, 0.0, -6.0]


def test_in_a_sum_a_missing_value_puts_no_picture_last(store: Store) -> None:
    ids = store.add([new_image(0, x=1, y=1), new_image(1, y=5)], vectors(2))
    found = store.snapshot().order([Term(Stored("x")), Term(Stored("y"))], 2, missing="last")
    assert found.ids_K.tolist() == [ids[1], ids[0]]


def test_numbers_that_float32_cannot_tell_apart_are_put_in_order(store: Store) -> None:
    moments = [1_577_836_803.0, 1_577_836_801.0, 1_577_836_804.0, 1_577_836_802.0]
    ids = store.add([new_image(n, taken_at=moment) for n, moment in enumerate(moments)], vectors(4))
    for ascending, expected in ((True, [1, 3, 0, 2]), (False, [2, 0, 3, 1])):
        for k in (2, 4):
            found = store.snapshot().order([Term(TAKEN)], k, ascending=ascending)
            assert found.ids_K.tolist() == [ids[n] for n in expected[:k]]
        paged = [
            i for page in pages(store.snapshot(), [Term(TAKEN)], 1, ascending=ascending) for i, _ in page
        ]
        assert paged == [ids[n] for n in expected]


LARGE = [Term(ALONG, 300.0, 0.2), Term(Linear(unit_vectors(1, DIM, 8)[0], "another"), -200.0)]


@pytest.mark.parametrize("terms", [*SUMS, LARGE], ids=lambda terms: f"{len(terms)} terms")
@pytest.mark.parametrize("size", [1, 7, 50])
def test_pages_show_every_picture_once_and_in_order(full: Snapshot, terms: list[Term], size: int) -> None:
    missing: Missing
    for where in (EVERYTHING, Band(N, 1.0, None)):
        for ascending, missing in ((False, "last"), (True, "average")):
            shown = [
                one
                for page in pages(full, terms, size, where, ascending=ascending, missing=missing)
                for one in page
            ]
            assert sorted(i for i, _ in shown) == full.ids(where)
            scores = np.array([score for _, score in shown if not math.isnan(score)])
            falling = -np.diff(scores) if not ascending else np.diff(scores)
            assert (falling >= -1e-6 * max(1.0, np.abs(scores).max(initial=0))).all()
            without = [i for i, score in shown if math.isnan(score)]
            assert without == sorted(without)
            assert all(math.isnan(score) for _, score in shown[len(scores) :])


def test_a_page_begins_where_the_one_before_ended_however_close_the_scores_lie(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)  # a store that looks at one picture at a time would take minutes
    close_ND = rng.standard_normal(64) + 1e-3 * rng.standard_normal((3000, 64))
    close_ND /= np.linalg.norm(close_ND, axis=1, keepdims=True)
    collection = Collection.open(tmp_path, model_id="m", dim=64)
    collection.add([new_image(n, x=n % 3) for n in range(3000)], close_ND.astype(np.float32))
    snapshot = collection.snapshot()
    along, across = (Linear(unit_vectors(1, 64, seed)[0]) for seed in (1, 2))
    for terms in ([Term(along, 20.0)], [Term(along, 300.0), Term(across, -200.0)]):
        for where in (EVERYTHING, Band(Stored("x"), 1.0, None)):
            for size in range(1, 200):
                first = snapshot.order(terms, size, where)
                score = float(first.scores_K[-1])
                tied = first.ids_K[np.abs(first.scores_K - np.float32(score)) <= TIE].tolist()
                rest = snapshot.order(terms, 3000, where, after=Place(score, tuple(map(ImageId, tied))))
                assert not set(first.ids_K.tolist()) & set(rest.ids_K.tolist())
                assert len(first.ids_K) + len(rest.ids_K) == snapshot.count(where)
    collection.close()


def test_a_place_is_behind_what_scores_the_same_and_is_named(store: Store) -> None:
    ids = store.add([new_image(n, x=n // 3) for n in range(9)], vectors(9))
    order = store.snapshot().order
    rest = order([Term(Stored("x"))], 9, after=Place(1.0, (ids[4],)))
    assert set(rest.ids_K.tolist()) == {ids[3], ids[5], *ids[:3]}
    rest = order([Term(Stored("x"))], 9, after=Place(1.0, (ids[4],)), ascending=True)
    assert set(rest.ids_K.tolist()) == {ids[3], ids[5], *ids[6:]}
    assert order([Term(Stored("x"))], 9, after=Place(-1.0, ())).ids_K.tolist() == []


def test_behind_a_place_among_those_without_a_value_come_larger_ids(store: Store) -> None:
    ids = store.add([new_image(n, **({"x": 1} if n < 2 else {})) for n in range(6)], vectors(6))
    store.patch(ids[3], {"y": 1})
    order = store.snapshot().order
    assert (
        order([Term(Stored("x"))], 9, after=Place(None, (ids[2], ids[3])), missing="last").ids_K.tolist()
        == ids[4:]
    )
    assert order([Term(Stored("x"))], 9, after=Place(None), missing="last").ids_K.tolist() == ids[2:]


def test_what_a_band_says_of_its_ends(store: Store) -> None:
    ids = store.add([new_image(n, **({"x": n} if n else {})) for n in range(5)], vectors(5))
    snapshot = store.snapshot()
    assert snapshot.ids(Band(Stored("x"), 2.0, 4.0)) == ids[2:4]
    assert snapshot.ids(Band(Stored("x"), 2.0, None)) == ids[2:]
    assert snapshot.ids(Not(Band(Stored("x"), 2.0, None))) == ids[:2]


def test_ids_are_answered_in_their_order_and_the_first_unknown_one_is_named(full: Snapshot) -> None:
    ids = [*full.ids()[5::-1], full.ids()[9], full.ids()[9]]
    assert [row.id for row in full.rows(ids)] == ids
    assert [row.id for row in full.find([10**6, *ids, -4])] == ids
    np.testing.assert_array_equal(full.vectors(ids)[::-1], full.vectors(ids[::-1]))
    asked: list[Callable[[list[int]], object]] = [
        full.rows,
        full.vectors,
        lambda some: full.values(PRICE, some),
        lambda some: full.values(ALONG, some),
        lambda some: full.values(HALF, some),
        lambda some: full.groups("n", some),
    ]
    for ask in asked:
        for unknown in (10**6, 0, -4, 2**70):
            with pytest.raises(NotFoundError, match=f"{unknown}$"):
                ask([*ids, unknown, 10**7])
        ask([])


def test_no_ids_are_answered_with_nothing(full: Snapshot) -> None:
    assert (full.rows([]), full.find([])) == ([], [])
    assert full.vectors([]).shape == (0, DIM)
    assert all(full.values(attribute, []).shape == (0,) for attribute in ATTRIBUTES)
    assert full.groups("n", []).shape == (0,)
    assert full.nearest(ACROSS.direction_D, 0).ids_K.tolist() == []
    assert full.order(SUMS[1], 0).ids_K.tolist() == full.order(SUMS[5], 0).ids_K.tolist() == []
    assert full.scroll(limit=0) == []
    assert full.facets("n", most=0) == []
    assert full.sample(0).ids_N.tolist() == []


def test_no_number_is_too_large_to_ask_with(full: Snapshot) -> None:
    for huge in (2**62, 2**63, 2**70):
        assert full.scroll(after=huge) == []
        assert [row.id for row in full.scroll(after=-huge, limit=huge)] == full.ids()
        assert full.find([huge, -huge]) == []
        assert full.ids(Ids((ImageId(huge), ImageId(-huge)))) == []
        assert full.order(SUMS[1], huge).ids_K.tolist() == full.order(SUMS[1], full.images).ids_K.tolist()
        assert len(full.nearest(ACROSS.direction_D, huge).ids_K) == full.images
        assert full.facets("tags", most=huge) == full.facets("tags")
        assert len(full.sample(huge).ids_N) == full.images


def test_an_empty_store_answers_every_question(store: Store) -> None:
    snapshot = store.snapshot()
    assert_agree(snapshot, mirror(snapshot))
    assert snapshot.sample(10).vectors_ND.shape == (0, DIM)
    assert snapshot.scroll() == []


def test_facets_are_counted_once_a_picture_and_those_that_tie_stand_by_value(store: Store) -> None:
    store.add(
        [new_image(0, t=["b", "b", "a"]), new_image(1, t=["c", "a"]), new_image(2, t=[1, 1.0])], vectors(3)
    )
    facets = store.snapshot().facets
    counts = [(one.value, one.count) for one in facets("t")]
    assert counts == [("a", 2), (1, 1), ("b", 1), ("c", 1)]
    assert [[(one.value, one.count) for one in facets("t", most=most)] for most in range(4)] == [
        counts[:most] for most in range(4)
    ]


def test_of_many_values_that_tie_the_first_by_value_are_kept(store: Store) -> None:
    store.add(
        [new_image(n, t=word, x=x) for n, (word, x) in enumerate(zip("zyxa", (9, 10, 11, 100), strict=True))],
        vectors(4),
    )
    for field, expected in (("t", ["a", "x", "y", "z"]), ("x", [10, 100, 11, 9])):
        for most in range(1, 5):
            assert [one.value for one in store.snapshot().facets(field, most=most)] == expected[:most]


@pytest.mark.parametrize("most", [1, 5, 40, 10_000])
def test_a_sample_is_spread_evenly_and_the_same_each_time(full: Snapshot, most: int) -> None:
    sample = full.sample(most)
    ids = sample.ids_N.tolist()
    assert 1 <= len(set(ids)) == len(ids) <= most
    assert len(ids) >= min(full.images, most) / 2
    np.testing.assert_array_equal(sample.vectors_ND, full.vectors(ids))
    assert full.sample(most).ids_N.tolist() == ids


def test_a_sample_of_an_untouched_store_leaves_no_large_gap(store: Store) -> None:
    ids = store.add([picture(n) for n in range(100)], vectors(100))
    chosen = sorted(store.snapshot().sample(10).ids_N.tolist())
    assert max(np.diff([ids[0] - 1, *chosen, ids[-1] + 1])) <= 20


@pytest.mark.parametrize("numbers", [[0.1 + 0.2, 0.3], [1e16, 1e16 + 2], [-1.5e308, 1.5e308], [5.0, 5.0]])
def test_bars_can_be_drawn_over_any_numbers(store: Store, numbers: list[float]) -> None:
    store.add([new_image(n, x=x) for n, x in enumerate(numbers)], vectors(2))
    made = store.snapshot().statistics(Stored("x"), bars=20)
    assert made.count == sum(made.counts_B.tolist()) == 2
    assert len(made.edges_B) == 21
    assert np.isfinite([made.mean, made.std, *made.edges_B]).all()
