"""Everything that can be asked of a snapshot: what two stores say is compared, and what one says twice.

Dimension key   N pictures, D embedding
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.attributes import Attribute, Computed, Linear, Phrase, Stored, Term, Words, WordTerm
from indexer.filters.language import parse_filter
from indexer.protocols import EXACT, TIE, Matches, Place, Snapshot
from indexer.types import ImageId, ImageRow, JSONValue, NewImage
from indexer.where import EVERYTHING, And, Band, Ids, Matching, Not, Where
from tests.support.memory_store import Kept, MemorySnapshot
from tests.support.pictures import new_image, unit_vectors

DIM = 8
ROUNDING = 2e-6  # of a score, in float32
Missing = Literal["last", "average"]
HOW: tuple[Literal["equal", "prefix", "part", "spelling"], ...] = ("equal", "prefix", "part", "spelling")

FILTERS: list[Any] = [
    {"match": {"n": 3}},
    {"match": {"tags": ["sea", "boat"]}},
    {"match": {"flag": True}},
    {"match": {"mixed": [1, "1"]}},
    {"match": {"width": 641}},
    {"range": {"n": {"gte": 2, "lt": 5}}},
    {"range": {"tags": {"gt": "b", "lte": "sea"}}},
    {"range": {"taken_at": {"lt": "2020-01-05"}}},
    {"range": {"id": {"gt": 5}}},
    {"range": {"added_at": {"gt": "2001-01-01"}}},
    {"exists": "deep.er"},
    {"exists": "taken_at"},
    {"geo_radius": {"latitude": 10.0, "longitude": 179.0, "radius_m": 500_000.0}},
    {"geo_box": {"south": -5.0, "west": 175.0, "north": 12.5, "east": -176.5}},
    {"must": [{"exists": "n"}], "should": [{"match": {"n": 1}}, {"match": {"n": 2}}]},
    {"must_not": [{"match": {"tags": "sea"}}, {"exists": "deep"}]},
]
FACETS = ("tags", "n", "flag", "mixed", "deep.er", "format", "width", "absent")
GROUPS = ("tags", "n", "flag", "mixed", "deep.er", "uri", "absent")


def picture(name: int, seed: int = 0) -> NewImage:
    """Fields of every kind, each of them missing here and there; `seed` varies what is stored of a name."""
    n = 31 * name + 17 * seed
    mixed: list[JSONValue] = [1, "1", True, 2.5]
    fields: dict[str, JSONValue] = {
        "n": n % 7,
        "price": (n * 37 % 101) / 10,
        "tags": [tag for bit, tag in enumerate(("sea", "boat", "red")) if n >> bit & 1],
        "flag": n % 3 == 0,
        "title": "sea boat" if n % 2 else "boat by the sea",
        "mixed": mixed[n % 4],
        "deep": {"er": n % 3},
        "latitude": float(n % 60 - 30),
        "longitude": float((n * 7 % 24) + 170) if (n * 7 % 24) <= 10 else float((n * 7 % 24) - 190),
    }
    kept = {field: value for at, (field, value) in enumerate(fields.items()) if (n // 3 + at) % 5}
    return new_image(name, taken_at=None if n % 4 == 0 else 1_577_836_800.0 + 10_000 * (n % 90), **kept)


def vectors(count: int, seed: int = 0) -> Float32[ndarray, "n d"]:
    return unit_vectors(count, DIM, seed)


def _widest(vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, " n"]:
    return np.abs(vectors_ND).max(axis=1).astype(np.float64)


def _half(vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, " n"]:
    """A value for about half of the pictures."""
    return np.where(vectors_ND[:, 0] > 0, vectors_ND[:, 1], np.nan).astype(np.float64)


ALONG = Linear(unit_vectors(1, DIM, 5)[0], "along")
ACROSS = Linear(unit_vectors(1, DIM, 6)[0])
WIDEST, HALF = Computed(_widest, "widest"), Computed(_half, "half")
N, PRICE, TAKEN, ABSENT, FIRST_SIZE = map(Stored, ("n", "price", "taken_at", "absent", "deep.er"))
SEA_OR_BOAT, RED = WordTerm(("sea", "boat"), 1.5, 0.5), WordTerm(("red",), 0.7)
WORDS, NO_WORDS = Words((SEA_OR_BOAT, RED)), Words((WordTerm(("absent",), 2.0),))
PHRASE = Phrase(("sea", "boat"))
ATTRIBUTES: list[Attribute] = [ALONG, ACROSS, WIDEST, HALF, N, PRICE, TAKEN, ABSENT, FIRST_SIZE]
ATTRIBUTES += [WORDS, NO_WORDS, PHRASE]
TOKENS = ("sea", "se", "oa", "bota", "re", "7", "januray", "absent")
SUMS: list[list[Term]] = [
    [],
    *([Term(attribute)] for attribute in ATTRIBUTES),
    [Term(ALONG, -2.0, 0.25)],
    [Term(ALONG, 1.5, 0.1), Term(ACROSS, -0.5, 0.2)],
    [Term(ALONG, 3.0), Term(N, 0.25, 3.0), Term(HALF, -1.0, 0.1)],
    [Term(PRICE, -0.1, 5.0), Term(WIDEST, 2.0)],
    [Term(ACROSS), Term(WORDS, 0.5), Term(N, 0.1)],
]


def wheres(ids: Sequence[ImageId]) -> list[Where]:
    """Conditions of every kind, `ids` being some that there are or were."""
    third, few = Ids(tuple(ids[::3])), Ids(tuple(ids[1::7]))
    matching: list[Where] = [Matching(parse_filter(document)) for document in FILTERS]
    return [
        EVERYTHING,
        *matching,
        third,
        Ids((*ids[:2], ImageId(10**9), ImageId(-1), ImageId(2**70), *ids[:2])),
        Ids(()),
        Band(N, 2.0, 5.0),
        Band(N, 3.0, None),
        Band(N, 3.0, 3.0),
        Band(ALONG, 0.05, 0.5),
        Band(ACROSS, -0.05, None),
        Band(HALF, -0.2, 0.3),
        Band(ABSENT, 0.0, None),
        Band(WORDS, 0.4, None),
        Band(PHRASE, 0.0, None),
        Not(Band(PHRASE, 0.0, None)),
        And(()),
        And((matching[0], third)),
        And((Band(ALONG, 0.0, None), Not(few), matching[5])),
        Not(EVERYTHING),
        Not(matching[1]),
        Not(third),
        Not(few),
        Not(Band(N, 2.0, 5.0)),
        Not(And((Not(third), Not(matching[5])))),
        And((Not(few), Not(And((matching[10], Band(PRICE, 1.0, 7.5)))))),
    ]


def mirror(snapshot: Snapshot) -> MemorySnapshot:
    """What follows from the rows and vectors of a snapshot alone."""
    ids = snapshot.ids()
    kept = map(Kept, snapshot.rows(ids), snapshot.vectors(ids))
    return MemorySnapshot(snapshot.version, dict(zip(ids, kept, strict=True)), snapshot.dim)


def told(row: ImageRow) -> tuple[object, ...]:
    """What two stores know alike of a picture: not the second in which it was added."""
    return tuple(getattr(row, name) for name in ImageRow.__slots__ if name != "added_at")


def assert_agree(have: Snapshot, want: MemorySnapshot, step: int = 1) -> None:
    """The same pictures, and the same answers up to ties; under each `step`-th of the conditions."""
    ids = want.ids()
    assert (have.images, have.dim, have.ids()) == (want.images, want.dim, ids)
    assert [told(row) for row in have.rows(ids)] == [told(row) for row in want.rows(ids)]
    np.testing.assert_array_equal(have.vectors(ids), want.vectors(ids))
    for where in wheres(ids)[::step]:
        assert_agree_under(have, want, where)
    for terms in SUMS:
        assert_orders_agree(have, want, terms, EVERYTHING)
    for attribute in ATTRIBUTES:
        np.testing.assert_allclose(have.values(attribute, ids), want.values(attribute, ids), atol=ROUNDING)
    for word in TOKENS:
        for how in HOW:
            for most in (2, 20):
                assert have.tokens(word, how, most=most) == want.tokens(word, how, most=most), (word, how)
    for field in GROUPS:
        assert_groups_agree(have, want, field, ids)


def assert_agree_under(have: Snapshot, want: MemorySnapshot, where: Where) -> None:
    ids = want.ids(where)
    assert (have.ids(where), have.count(where)) == (ids, len(ids)), where
    for k in (1, 7, want.images + 1):
        found = have.nearest(ACROSS.direction_D, k, where, recall=EXACT)
        assert found.mode == "exact"
        assert_matches(found, want.nearest(ACROSS.direction_D, k, where), want, [Term(ACROSS)])
        for words, scale in ((WORDS, 0.5), (NO_WORDS, 1.0)):
            both = have.nearest(ACROSS.direction_D, k, where, recall=EXACT, words=(words, scale))
            expected = want.nearest(ACROSS.direction_D, k, where, words=(words, scale))
            assert_matches(both, expected, want, [Term(ACROSS), Term(words, scale)])
    for terms in (SUMS[1], SUMS[2], SUMS[5], SUMS[-2]):
        assert_orders_agree(have, want, terms, where)
    for field in FACETS:
        for most in (2, 100):
            assert have.facets(field, where, most=most) == want.facets(field, where, most=most), (field, most)
    for attribute in ATTRIBUTES:
        assert_numbers_agree(have, want, attribute, where)
    middle = ids[len(ids) // 2] if ids else 0
    for after, limit in ((0, 3), (middle, 100), (middle, 1), (10**9, 5)):
        shown = have.scroll(after=after, limit=limit, where=where)
        assert [row.id for row in shown] == [i for i in ids if i > after][:limit]
        assert shown == have.rows([row.id for row in shown])


def assert_orders_agree(have: Snapshot, want: MemorySnapshot, terms: list[Term], where: Where) -> None:
    every = want.images + 1
    asked: list[tuple[Missing, bool, int]] = [
        *(("last", False, 3), ("last", True, every)),
        *(("average", True, 3), ("average", False, every)),
    ]
    for missing, ascending, k in asked:
        found = have.order(terms, k, where, ascending=ascending, missing=missing)
        expected = want.order(terms, k, where, ascending=ascending, missing=missing)
        assert (found.mode, found.candidates) == ("exact", expected.candidates)
        assert_matches(found, expected, want, terms, missing)


def assert_matches(
    have: Matches, want: Matches, snapshot: MemorySnapshot, terms: list[Term], missing: Missing = "average"
) -> None:
    """The same scores in the same order, each the score of its picture; those without one in their order."""
    np.testing.assert_allclose(have.scores_K, want.scores_K, rtol=1e-6, atol=ROUNDING)
    nan_K = np.isnan(want.scores_K)
    assert have.ids_K[nan_K].tolist() == want.ids_K[nan_K].tolist()
    found = have.ids_K.tolist()
    assert len(set(found)) == len(found)
    own = snapshot.order(terms, len(found), Ids(tuple(found)), missing=missing)
    score_of = dict(zip(own.ids_K.tolist(), own.scores_K.tolist(), strict=True))
    np.testing.assert_allclose(have.scores_K, [score_of[i] for i in found], rtol=1e-6, atol=ROUNDING)


def assert_numbers_agree(have: Snapshot, want: MemorySnapshot, attribute: Attribute, where: Where) -> None:
    percents = (0, 0.29, 29, 33.3, 50, 99.9, 100)
    found, expected = (one.quantiles(attribute, percents, where) for one in (have, want))
    np.testing.assert_allclose([q.value for q in found], [q.value for q in expected], atol=ROUNDING)
    if found:
        has = {q.id for q in found}
        assert has <= set(want.ids(where))
        np.testing.assert_array_equal(have.values(attribute, [q.id for q in found]), [q.value for q in found])
    for bars in (1, 4):
        own, other = (one.statistics(attribute, where, bars=bars) for one in (have, want))
        assert (own.count, len(own.counts_B)) == (other.count, len(other.counts_B))
        np.testing.assert_allclose((own.mean, own.std), (other.mean, other.std), rtol=1e-6, atol=ROUNDING)
        np.testing.assert_allclose(
            own.edges_B, other.edges_B, rtol=1e-6, atol=0.5 + ROUNDING
        )  # around one value
        assert_bars(own.counts_B.tolist(), own.edges_B, have.values(attribute, have.ids(where)))


def assert_bars(counts: list[int], edges_B: ndarray, value_N: Float64[ndarray, " n"]) -> None:
    value_N = value_N[~np.isnan(value_N)]
    assert edges_B.dtype == np.float64
    assert len(edges_B) == (len(counts) + 1 if counts else 0)
    for bar, count in enumerate(counts):
        low, high, is_last = edges_B[bar], edges_B[bar + 1], bar == len(counts) - 1
        below_N = value_N <= high if is_last else value_N < high
        assert count == np.count_nonzero((value_N >= low) & below_N)
    assert sum(counts) == len(value_N)


def assert_groups_agree(have: Snapshot, want: MemorySnapshot, field: str, ids: list[ImageId]) -> None:
    pairs = set(zip(have.groups(field, ids).tolist(), want.groups(field, ids).tolist(), strict=True))
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)  # one number is one value
    assert all((a == -1) == (b == -1) for a, b in pairs)


def pages(
    snapshot: Snapshot,
    terms: Sequence[Term],
    size: int,
    where: Where = EVERYTHING,
    *,
    ascending: bool = False,
    missing: Missing = "average",
) -> Iterator[list[tuple[int, float]]]:
    """(id, score) page by page, each asked for from where the one before ended."""
    shown: list[tuple[int, float]] = []
    after: Place | None = None
    while True:
        found = snapshot.order(terms, size, where, after=after, ascending=ascending, missing=missing)
        page = list(zip(found.ids_K.tolist(), found.scores_K.tolist(), strict=True))
        if not page:
            return
        yield page
        shown += page
        assert len(shown) <= snapshot.images  # else the pages may have no end
        last = shown[-1][1]
        tied = [
            ImageId(i)
            for i, score in shown
            if abs(score - last) <= TIE or (math.isnan(score) and math.isnan(last))
        ]
        after = Place(None if math.isnan(last) else last, tuple(tied))


def answers(snapshot: Snapshot, ids: Sequence[ImageId]) -> list[object]:
    """What a snapshot says to every kind of question about itself and `ids`, to the last bit."""
    held = [row.id for row in snapshot.find(ids)]
    said: list[object] = [
        snapshot.version,
        snapshot.images,
        snapshot.ids(),
        snapshot.find(ids),
        snapshot.rows(held),
    ]
    said += [snapshot.vectors(held).tolist(), snapshot.scroll(limit=1000)]
    for where in wheres(ids)[::2]:
        said += [snapshot.ids(where), snapshot.count(where), snapshot.facets("tags", where)]
        said.append(_plain(snapshot.nearest(ACROSS.direction_D, 7, where, recall=EXACT)))
        said += [_plain(snapshot.order(terms, 9, where)) for terms in SUMS]
        said.append([row.id for row in snapshot.scroll(after=3, limit=4, where=where)])
        for attribute in (ALONG, PRICE):
            said.append(snapshot.quantiles(attribute, (0, 50, 100), where))
            said.append(snapshot.statistics(attribute, where, bars=3).counts_B.tolist())
    said += [repr(snapshot.values(attribute, held).tolist()) for attribute in ATTRIBUTES]
    said += [snapshot.groups(field, held).tolist() for field in GROUPS]
    return [*said, snapshot.sample(5).ids_N.tolist()]


def _plain(matches: Matches) -> tuple[object, ...]:
    return matches.ids_K.tolist(), repr(matches.scores_K.tolist()), matches.mode
