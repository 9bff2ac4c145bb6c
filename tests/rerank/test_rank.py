"""Orders, percentile bands and distributions against NumPy, while a collection grows and shrinks."""

import itertools
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.attributes import Stored, Term
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact
from indexer.errors import InvalidCursorError, InvalidQueryError
from indexer.protocols import Snapshot
from indexer.tables.axes import Axis, AxisStore
from indexer.types import ImageId
from indexer.where import both
from rerank.axes.fit_axis import fit_by_extremes, fit_by_field
from rerank.axes.statistics import MomentsCache
from rerank.axes.terms import AxisScorer
from rerank.engine import Engine
from rerank.types import RankQuery, SearchQuery, VectorPart
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import open_engine
from tests.support.pictures import new_image, unit_vectors

N = 400


@dataclass
class Stand:
    """A collection that can change, with the same data as plain arrays for the oracle."""

    collection: Collection
    axes: AxisStore
    engine: Engine
    vector: dict[int, np.ndarray]
    price: dict[int, float]

    def add(self, count: int, seed: int) -> None:
        vectors_ND = unit_vectors(count, DIM, seed=seed)
        prices = [None if i % 5 == 0 else float(i % 7) for i in range(count)]
        images = [
            new_image(f"{seed}-{i}", **({} if price is None else {"price": price}))
            for i, price in enumerate(prices)
        ]
        for image_id, vector_D, price in zip(
            self.collection.add(images, vectors_ND), vectors_ND, prices, strict=True
        ):
            self.vector[image_id] = vector_D.astype(np.float16).astype(np.float64)
            self.price[image_id] = np.nan if price is None else price

    def delete(self, ids: list[int]) -> None:
        self.collection.delete([ImageId(i) for i in ids])
        for image_id in ids:
            del self.vector[image_id], self.price[image_id]

    def value(self, name: str) -> dict[int, float]:
        if name == "price":
            return self.price
        direction_D = self.axes.get(name).direction_D
        assert direction_D is not None
        return {image_id: float(vector_D @ direction_D) for image_id, vector_D in self.vector.items()}

    def total(self, weights: dict[str, float]) -> dict[int, float]:
        """Σ weight (value - mean) / std; a missing value counts as average."""
        total = dict.fromkeys(self.vector, 0.0)
        for name, weight in weights.items():
            value = self.value(name)
            known = np.array([v for v in value.values() if not np.isnan(v)])
            for image_id, v in value.items():
                total[image_id] += 0.0 if np.isnan(v) else weight * (v - known.mean()) / known.std()
        return total


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    axes = AxisStore(collection.database, "default")
    stand = Stand(collection, axes, open_engine(collection, axes), {}, {})
    stand.add(N, seed=1)
    ids = [ImageId(i) for i in stand.vector]
    axes.put(fit_by_extremes("warm", ids[:5], ids[5:10], collection, ColourEncoder()))
    axes.put(fit_by_extremes("bright", ids[20:22], ids[30:33], collection, ColourEncoder()))
    axes.put(fit_by_field("price", "price", collection, ColourEncoder()))
    return stand


@pytest.mark.parametrize(
    "weights", [{"warm": 1.0}, {"warm": 1.0, "bright": -0.5}, {"warm": 0.5, "price": 2.0}]
)
@pytest.mark.parametrize("order", ["desc", "asc"])
def test_an_order_equals_numpys_while_the_collection_changes(
    stand: Stand, weights: dict[str, float], order: str
) -> None:
    def check() -> None:
        answer = stand.engine.rank(RankQuery(weights, order=order, limit=1000))  # type: ignore[arg-type]
        total = stand.total(weights)
        scores = [hit.score for hit in answer.hits]
        assert scores == pytest.approx(sorted(total.values(), reverse=order == "desc"), abs=2e-3)
        for hit in answer.hits:
            assert hit.score == pytest.approx(total[hit.image.id], abs=2e-3)
            assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-5)
        assert (answer.mode, answer.candidates) == ("exact", len(total))

    check()
    check()  # from memory
    stand.add(30, seed=2)
    check()
    stand.delete(list(stand.vector)[::3])
    check()
    compact(stand.collection, Aims(memory_bytes=1 << 28, threads=1), reclaim=True)
    check()


def test_an_axis_taught_again_orders_anew(stand: Stand) -> None:
    stand.engine.rank(RankQuery({"warm": 1.0}))
    stand.axes.delete("warm")
    ids = [ImageId(i) for i in stand.vector]
    stand.axes.put(fit_by_extremes("warm", ids[5:10], ids[:5], stand.collection, ColourEncoder()))
    total = stand.total({"warm": 1.0})
    top = stand.engine.rank(RankQuery({"warm": 1.0}, limit=1)).hits[0]
    assert top.image.id == max(total, key=lambda image_id: total[image_id])


def test_no_page_goes_on_with_another_axis(stand: Stand) -> None:
    ids = [ImageId(i) for i in stand.vector]
    query = VectorPart(unit_vectors(2, DIM, seed=8)[0])
    ranked = stand.engine.rank(RankQuery({"warm": 1.0}, limit=5)).cursor
    found = stand.engine.search(SearchQuery((query,), axes={"warm": 1.0}, limit=5)).cursor
    stand.axes.put(fit_by_extremes("warm", ids[5:10], ids[:5], stand.collection, ColourEncoder()))
    with pytest.raises(InvalidCursorError):
        stand.engine.rank(RankQuery({"warm": 1.0}, limit=5, cursor=ranked))
    with pytest.raises(InvalidCursorError):
        stand.engine.search(SearchQuery((query,), axes={"warm": 1.0}, limit=5, cursor=found))


VALUES = st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, -3.0, float("nan")]), min_size=1, max_size=40)


@contextmanager
def with_values(
    values: Sequence[float], dead: Set[int] = frozenset()
) -> Iterator[tuple[Snapshot, AxisScorer]]:
    """A collection whose picture i + 1 has `values[i]` in a field, unless that is NaN, without the dead."""
    with (
        TemporaryDirectory() as folder,
        closing(Collection.open(Path(folder), model_id="colours-1", dim=DIM)) as collection,
    ):
        images = [new_image(i, **({} if np.isnan(v) else {"value": v})) for i, v in enumerate(values)]
        ids = collection.add(images, unit_vectors(len(values), DIM))
        collection.delete([i for n, i in enumerate(ids) if n in dead])
        axes = AxisStore(collection.database, "default")
        axes.put(Axis("value", "field", "field", "colours-1", None, "value", "exact", "", inputs={}))
        yield collection.snapshot(), AxisScorer(axes, "colours-1", MomentsCache())


def band_of(snapshot: Snapshot, scorer: AxisScorer, low: float, high: float) -> list[int]:
    """Positions of the pictures in a band of percentiles."""
    limits = scorer.limits({"value": (low, high)}, snapshot, {})
    return [image_id - 1 for image_id in snapshot.ids(both(*scorer.within(limits)))]


@given(VALUES, st.sets(st.integers(0, 39)), st.lists(st.floats(0.1, 99.9), max_size=4, unique=True))
@settings(max_examples=30, deadline=None)
def test_neighbouring_bands_hold_every_picture_with_a_value_once(
    values: list[float], dead: set[int], cuts: list[float]
) -> None:
    edges = [0.0, *sorted(cuts), 100.0]
    with with_values(values, dead) as (snapshot, scorer):
        bands = [band_of(snapshot, scorer, low, high) for low, high in itertools.pairwise(edges)]
    expected = [i for i, value in enumerate(values) if value == value and i not in dead]
    assert sorted(itertools.chain(*bands)) == expected
    for lower, upper in itertools.pairwise(bands):
        if lower and upper:
            assert max(values[i] for i in lower) < min(values[i] for i in upper)


@given(st.integers(1, 300), st.integers(0, 99), st.integers(1, 100))
@settings(max_examples=30, deadline=None)
def test_a_band_of_distinct_values_has_its_share(count: int, low: int, width: int) -> None:
    high = min(100, low + width)
    values = np.random.default_rng(count).permutation(count).astype(float)
    with with_values(values.tolist()) as (snapshot, scorer):
        members = band_of(snapshot, scorer, low, high)
    ranks = sorted(values[members].astype(int).tolist())  # the value of a picture is its rank
    assert ranks == list(range(low * count // 100, count if high == 100 else high * count // 100))


def test_search_and_rank_stay_within_percentiles(stand: Stand) -> None:
    warm = stand.value("warm")
    floor = np.sort(list(warm.values()))[int(0.9 * len(warm))]
    expected = {image_id for image_id, value in warm.items() if value >= floor - 1e-9}
    ranked = stand.engine.rank(RankQuery({"bright": 1.0}, percentiles={"warm": (90, 100)}, limit=1000))
    assert {hit.image.id for hit in ranked.hits} == expected
    query = VectorPart(unit_vectors(2, DIM, seed=8)[0])
    found = stand.engine.search(SearchQuery((query,), percentiles={"warm": (90, 100)}, limit=1000))
    assert {hit.image.id for hit in found.hits} == expected
    priced = stand.engine.rank(RankQuery({"warm": 1.0}, percentiles={"price": (0, 100)}, limit=1000))
    assert len(priced.hits) == sum(price == price for price in stand.price.values())


def test_a_page_keeps_the_percentiles_of_the_first(stand: Stand) -> None:
    wish = RankQuery({"bright": 1.0}, percentiles={"warm": (50, 100)}, limit=50)
    whole = [hit.image.id for hit in stand.engine.rank(replace(wish, limit=1000)).hits]
    pages, cursor = [], None
    for page in range(3):
        answer = stand.engine.rank(replace(wish, cursor=cursor))
        pages += [hit.image.id for hit in answer.hits]
        cursor = answer.cursor
        stand.add(60, seed=70 + page)
    assert pages == whole[:150]


@pytest.mark.parametrize("band", [(90, 90), (-1, 10), (50, 101), (60, 40), (float("nan"), 10)])
def test_an_impossible_band_is_explained(stand: Stand, band: tuple[float, float]) -> None:
    with pytest.raises(InvalidQueryError, match="expected 0 <= from < to <= 100"):
        stand.engine.rank(RankQuery({"warm": 1.0}, percentiles={"warm": band}))


def test_a_distribution_counts_every_picture_and_shows_its_ends(stand: Stand) -> None:
    warm = stand.value("warm")
    found = stand.engine.distribution("warm", bars=7)
    assert (sum(found.counts), found.missing, len(found.edges)) == (N, 0, 8)
    assert found.mean == pytest.approx(np.mean(list(warm.values())), abs=1e-5)
    ends = [found.milestones[0], found.milestones[-1]]
    assert [end.percentile for end in ends] == [0.0, 100.0]
    assert [end.image.id for end in ends] == [
        min(warm, key=warm.__getitem__),
        max(warm, key=warm.__getitem__),
    ]
    assert stand.engine.distribution("price").missing == sum(price != price for price in stand.price.values())


def test_a_distribution_of_nothing_is_empty(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    axes = AxisStore(collection.database, "default")
    collection.add([new_image("a", price=1.0)], unit_vectors(1, DIM))
    axes.put(fit_by_field("price", "price", collection, ColourEncoder()))
    collection.delete([ImageId(1)])
    found = open_engine(collection, axes).distribution("price")
    assert (found.images, found.counts, found.milestones) == (0, (), ())


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_percentile_100_is_what_the_order_puts_first(values: list[float]) -> None:
    with with_values(values) as (snapshot, _):
        first = snapshot.order([Term(Stored("value"))], 1, missing="last").scores_K
        most = snapshot.quantiles(Stored("value"), [100.0])
    assert [np.float32(one.value) for one in most] == [score for score in first if not np.isnan(score)]
