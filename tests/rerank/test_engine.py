"""One inner product for the whole sum equals brute force over the sum, written out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float32
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.filters.language import parse_filter
from indexer.imaging.decode import Limits
from indexer.tables.axes import Axis, AxisStore
from indexer.types import ImageId
from rerank.axes.defaults import ensure_default_axes
from rerank.axes.fit_axis import fit_by_extremes
from rerank.engine import Engine
from rerank.types import IdPart, RankQuery, SearchQuery, TextPart, VectorPart
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import open_engine
from tests.support.pictures import new_image, unit_vectors

N = 300
LIMITS = Limits(1 << 20, 1 << 20)


@dataclass(frozen=True)
class Stand:
    """An engine, and what is stored, as plain arrays for the oracle."""

    engine: Engine
    axes: AxisStore
    collection: Collection
    stored_ND: Float32[ndarray, "n d"]
    ids: list[ImageId]
    taken_N: ndarray


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    collection = Collection.open(tmp_path_factory.mktemp("engine"), model_id="colours-1", dim=DIM)
    vectors_ND = unit_vectors(N, DIM, seed=4)
    taken_N = np.where(np.arange(N) % 3 == 0, np.nan, np.arange(N) * 86_400.0)
    images = [new_image(i, taken_at=None if np.isnan(t) else t, n=i) for i, t in enumerate(taken_N.tolist())]
    ids = collection.add(images, vectors_ND)
    encoder, axes = ColourEncoder(), AxisStore(collection.database, "default")
    ensure_default_axes(axes, encoder)
    for name, high, low in (("warm", ids[:5], ids[5:10]), ("bright", ids[20:22], ids[30:33])):
        axes.put(fit_by_extremes(name, high, low, collection, encoder))
    stored_ND = vectors_ND.astype(np.float16).astype(np.float32)
    return Stand(open_engine(collection, axes), axes, collection, stored_ND, ids, taken_N)


def brute_force(
    stand: Stand, query_D: Float32[ndarray, " d"], weights: Mapping[str, float]
) -> tuple[ndarray, dict[str, ndarray]]:
    """score(x) = q·x + Σ γ σ_q (v·x - μ) / σ, term by term, over everything that is stored."""
    query_N = stand.stored_ND @ query_D
    sigma_query = query_N.std() if query_D.any() else 1.0
    shares = {"query": query_N} if query_D.any() else {}
    for name, weight in weights.items():
        axis: Axis = stand.axes.get(name)
        value_N = stand.taken_N if axis.direction_D is None else stand.stored_ND @ axis.direction_D
        standard_N = (value_N - np.nanmean(value_N)) / np.nanstd(value_N)
        shares[name] = np.nan_to_num(weight * sigma_query * standard_N, nan=0.0)
    return np.sum(list(shares.values()), axis=0), shares


def unit_query(seed: int) -> Float32[ndarray, " d"]:
    return unit_vectors(2, DIM, seed=seed)[0]


@given(
    seed=st.integers(0, 1000),
    weights=st.dictionaries(
        st.sampled_from(["warm", "bright", "aesthetics", "recency"]), st.floats(-3, 3), max_size=3
    ),
    with_query=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_search_with_axes_equals_brute_force_over_the_sum(
    stand: Stand, seed: int, weights: dict[str, float], with_query: bool
) -> None:
    if not with_query and not weights:
        return
    query_D = unit_query(seed) if with_query else np.zeros(DIM, np.float32)
    parts = (VectorPart(query_D),) if with_query else ()
    answer = stand.engine.search(SearchQuery(parts=parts, axes=weights, limit=25))
    score_N, shares = brute_force(stand, query_D, weights)
    place = {image_id: i for i, image_id in enumerate(stand.ids)}
    expected = np.sort(score_N)[::-1][:25]
    assert [hit.score for hit in answer.hits] == pytest.approx(expected.tolist(), abs=2e-4)
    for hit in answer.hits:
        n = place[hit.image.id]
        assert hit.score == pytest.approx(score_N[n], abs=2e-4)
        assert dict(hit.contributions) == pytest.approx({k: float(v[n]) for k, v in shares.items()}, abs=2e-4)
        assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=2e-4)


def test_parts_are_mixed_by_weight(stand: Stand) -> None:
    a, b = unit_query(1), unit_query(2)
    mixed = a - 0.5 * b
    parts = (VectorPart(a), VectorPart(7 * b, -0.5))  # the length of a vector does not matter
    answer = stand.engine.search(SearchQuery(parts=parts, limit=5))
    expected_N = stand.stored_ND @ (mixed / np.linalg.norm(mixed))
    assert [hit.score for hit in answer.hits] == pytest.approx(
        np.sort(expected_N)[::-1][:5].tolist(), abs=1e-5
    )


def test_more_like_this_leaves_this_out(stand: Stand) -> None:
    answer = stand.engine.search(SearchQuery(parts=(IdPart(stand.ids[7]),), limit=N))
    assert len(answer.hits) == N - 1
    assert stand.ids[7] not in [hit.image.id for hit in answer.hits]


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_are_the_whole_list_cut(stand: Stand, limit: int) -> None:
    weights = {"warm": 1.0}
    whole = stand.engine.search(SearchQuery(parts=(TextPart("red"),), axes=weights, limit=N))
    pages: list[ImageId] = []
    cursor: str | None = None
    while len(pages) < 120:
        answer = stand.engine.search(
            SearchQuery(parts=(TextPart("red"),), axes=weights, limit=limit, cursor=cursor)
        )
        pages += [hit.image.id for hit in answer.hits]
        cursor = answer.cursor
    assert pages == [hit.image.id for hit in whole.hits][: len(pages)]


def test_pages_stay_true_while_others_write(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    vectors_ND = unit_vectors(60, DIM, seed=1)
    ids = collection.add([new_image(i) for i in range(60)], vectors_ND)
    axes = AxisStore(collection.database, "default")
    axes.put(fit_by_extremes("warm", ids[:3], ids[3:6], collection, ColourEncoder()))
    engine = open_engine(collection, axes)

    def page(cursor: str | None) -> tuple[list[int], str | None]:
        answer = engine.search(
            SearchQuery(parts=(VectorPart(vectors_ND[0]),), axes={"warm": 1.0}, limit=20, cursor=cursor)
        )
        return [hit.image.id for hit in answer.hits], answer.cursor

    whole: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        shown, cursor = page(cursor)
        whole += shown
    first, cursor = page(None)
    collection.add([new_image(f"late{i}") for i in range(20)], np.repeat(vectors_ND[:1], 20, axis=0))
    collection.delete([ImageId(whole[25])])
    second, cursor = page(cursor)
    third, _ = page(cursor)
    assert first + second + third == whole[:25] + whole[26:]


def test_rank_orders_everything_by_the_axis(stand: Stand) -> None:
    direction_D = stand.axes.get("warm").direction_D
    assert direction_D is not None
    value_N = stand.stored_ND @ direction_D
    for order, sign in (("desc", -1), ("asc", 1)):
        answer = stand.engine.rank(RankQuery({"warm": 1.0}, order=order, limit=N))  # type: ignore[arg-type]
        expected = [stand.ids[n] for n in np.argsort(sign * value_N, kind="stable")]
        assert [hit.image.id for hit in answer.hits] == expected
        assert (answer.mode, answer.candidates) == ("exact", N)
    standard = (value_N.max() - value_N.mean()) / value_N.std()
    top = stand.engine.rank(RankQuery({"warm": 1.0}, limit=1)).hits[0]
    assert top.score == pytest.approx(standard, rel=1e-3)


def test_rank_of_a_querys_matches_orders_only_those(stand: Stand) -> None:
    query_D = unit_query(9)
    answer = stand.engine.rank(
        RankQuery({"warm": 1.0}, parts=(VectorPart(query_D),), candidates=30, limit=100)
    )
    best = np.argsort(-(stand.stored_ND @ query_D), kind="stable")[:30]
    assert (answer.mode, answer.candidates) == ("top_k", 30)
    assert {hit.image.id for hit in answer.hits} == {stand.ids[n] for n in best}
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, key=lambda score: -(score or 0.0))


def test_filters_come_before_everything(stand: Stand) -> None:
    condition = parse_filter({"must": [{"range": {"n": {"gte": 100, "lt": 110}}}]})
    answer = stand.engine.search(
        SearchQuery(parts=(TextPart("red"),), axes={"warm": 2.0}, filter=condition, limit=50)
    )
    assert sorted(hit.image.id for hit in answer.hits) == stand.ids[100:110]
    assert (answer.mode, answer.candidates) == ("exact", 10)


def test_a_flat_axis_says_that_it_tells_nothing_apart(stand: Stand, tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    collection.add([new_image(i, price=3) for i in range(4)], unit_vectors(4, DIM))
    axes = AxisStore(collection.database, "default")
    axes.put(Axis("price", "field", "field", "colours-1", None, "price", "exact", "", {}))
    answer = open_engine(collection, axes).rank(RankQuery({"price": 1.0}))
    assert answer.warnings == ("axis 'price' does not tell these pictures apart",)
    assert {hit.score for hit in answer.hits} == {0.0}
