"""What a search does beside finding: rephrasing, a second stage, and saying whether anything fits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.collection.collection import Collection
from indexer.errors import InvalidCursorError, InvalidQueryError
from indexer.imaging.decode import Limits
from indexer.tables.axes import AxisStore
from indexer.types import JSONValue
from rerank.axes.fit_axis import FromExtremes, FromField, fit_axis
from rerank.axes.statistics import MomentsCache
from rerank.diversity import embedding_kernel, marginal_relevance, vendi_score
from rerank.engine import Engine
from rerank.match.cache import MatchCache
from rerank.match.model import Match
from rerank.rephrase.endpoint import EndpointModel
from rerank.rephrase.rephraser import Rephraser
from rerank.types import (
    Answer,
    Deduplicate,
    Diversify,
    Rerank,
    SearchQuery,
    TextPart,
    VectorPart,
)
from tests.support.concepts import ConceptEncoder, collection_of
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import LIMITS, open_engine
from tests.support.llm import PAUSE_S, LanguageServer, language_server
from tests.support.pictures import new_image, unit_vectors
from tests.support.processes import PATIENCE_S

N = 120
COPIES = 5


@dataclass(frozen=True)
class Stand:
    """120 pictures; the first five were saved twice more, with a little noise."""

    collection: Collection
    axes: AxisStore
    engine: Engine
    stored_ND: np.ndarray
    query: VectorPart


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    collection = Collection.open(tmp_path_factory.mktemp("stages"), model_id="colours-1", dim=DIM)
    rng = np.random.default_rng(3)
    vectors_ND = unit_vectors(N, DIM, seed=5)
    copies_ND = np.repeat(vectors_ND[:COPIES], 2, axis=0) + 0.01 * rng.standard_normal((2 * COPIES, DIM))
    copies_ND /= np.linalg.norm(copies_ND, axis=1, keepdims=True)
    every_ND = np.concatenate([vectors_ND, copies_ND]).astype(np.float32)
    images = [new_image(i, stars=i % 6, country="abc"[i % 3]) for i in range(len(every_ND))]
    ids = collection.add(images, every_ND)
    axes = AxisStore(collection.database, "default")
    for name, signal in (
        ("warm", FromExtremes(tuple(ids[10:15]), tuple(ids[15:20]))),
        ("stars", FromField("stars")),
    ):
        axes.put(fit_axis(name, signal, collection, ColourEncoder()))
    stored_ND = every_ND.astype(np.float16).astype(np.float32)
    query = VectorPart(stored_ND[0] + 0.2 * unit_vectors(1, DIM, seed=9)[0])
    return Stand(collection, axes, open_engine(collection, axes), stored_ND, query)


def plain_order(stand: Stand) -> np.ndarray:
    query_D = stand.query.vector_D / np.linalg.norm(stand.query.vector_D)
    return np.argsort(-(stand.stored_ND @ query_D), kind="stable")


def places(answer: Answer) -> list[int]:
    return [int(hit.image.uri.rpartition("/")[2].removesuffix(".png")) for hit in answer.hits]


def pages(stand: Stand, query: SearchQuery) -> list[int]:
    found: list[int] = []
    while True:
        answer = stand.engine.search(query)
        found += places(answer)
        if answer.cursor is None:
            return found
        query = SearchQuery(
            **{name: getattr(query, name) for name in SearchQuery.__slots__ if name != "cursor"},
            cursor=answer.cursor,
        )


def test_near_duplicates_are_left_out_and_counted(stand: Stand) -> None:
    answer = stand.engine.search(SearchQuery((stand.query,), deduplicate=Deduplicate(bits=0), limit=10))
    first = answer.hits[0]
    assert first.duplicates == 2
    kept_KD = stand.stored_ND[places(answer)]
    assert (kept_KD @ kept_KD.T - np.eye(10)).max() < 0.95
    assert (answer.mode, answer.candidates) == ("top_k", 100)


def test_a_hash_alone_makes_a_duplicate(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    hashes: list[JSONValue] = ["00000000000000ff", "00000000000001ff", "ffffffffffffffff", "not a hash", 7]
    images = [new_image(i, measured={"dhash": dhash}) for i, dhash in enumerate(hashes)]
    collection.add(images, np.eye(5, DIM, dtype=np.float32))
    engine = open_engine(collection, AxisStore(collection.database, "default"))
    query = VectorPart(np.linspace(1, 0.5, DIM).astype(np.float32))
    answer = engine.search(SearchQuery((query,), deduplicate=Deduplicate(bits=1)))
    assert places(answer) == [0, 2, 3, 4]
    assert [hit.duplicates for hit in answer.hits] == [1, 0, 0, 0]


@pytest.mark.parametrize("weight", [None, 0.7, -1.0])
@pytest.mark.parametrize("axis", ["warm", "stars"])
def test_rerank_orders_the_pool_and_nothing_else(stand: Stand, axis: str, weight: float | None) -> None:
    pool = plain_order(stand)[:30]
    query_D = stand.query.vector_D / np.linalg.norm(stand.query.vector_D)
    direction_D = stand.axes.get("warm").direction_D
    assert direction_D is not None
    value_N = stand.stored_ND @ direction_D if axis == "warm" else np.arange(len(stand.stored_ND)) % 6.0
    standard_N = (value_N - value_N.mean()) / value_N.std()
    query_N = stand.stored_ND @ query_D
    score_N = standard_N if weight is None else query_N + weight * query_N.std() * standard_N
    answer = stand.engine.search(SearchQuery((stand.query,), rerank=Rerank(axis, weight), pool=30, limit=30))
    assert sorted(places(answer)) == sorted(pool.tolist())
    expected = sorted(score_N[pool].tolist(), reverse=True)
    assert [hit.score for hit in answer.hits] == pytest.approx(expected, abs=5e-3)
    for hit in answer.hits:
        assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-5)
        assert set(hit.contributions) == ({axis} if weight is None else {"query", axis})


def test_mmr_is_the_function_over_the_pool_and_the_vendi_score_is_reported(stand: Stand) -> None:
    pool = plain_order(stand)[:40]
    query_D = stand.query.vector_D / np.linalg.norm(stand.query.vector_D)
    kernel_NN = embedding_kernel(stand.stored_ND[pool])
    expected = pool[marginal_relevance(stand.stored_ND[pool] @ query_D, kernel_NN, 40, trade=0.4)]
    answer = stand.engine.search(
        SearchQuery((stand.query,), diversify=Diversify("mmr", 0.4), pool=40, limit=8)
    )
    assert places(answer) == expected[:8].tolist()
    assert answer.vendi == pytest.approx(vendi_score(embedding_kernel(stand.stored_ND[expected[:8]])))
    plain = stand.engine.search(SearchQuery((stand.query,), limit=8))
    assert answer.vendi is not None
    assert answer.vendi > vendi_score(embedding_kernel(stand.stored_ND[places(plain)]))


def test_vendi_over_a_field_shows_every_value_first(stand: Stand) -> None:
    diverse = Diversify("vendi", fields={"country": 1.0})
    answer = stand.engine.search(SearchQuery((stand.query,), diversify=diverse, pool=60, limit=3))
    assert sorted(str(hit.image.metadata["country"]) for hit in answer.hits) == ["a", "b", "c"]
    assert answer.vendi == pytest.approx(3.0)


@given(
    limit=st.integers(1, 50),
    diversify=st.sampled_from([None, Diversify("mmr", 0.5), Diversify("vendi")]),
    deduplicate=st.sampled_from([None, Deduplicate()]),
)
@settings(max_examples=15, deadline=None)
def test_pages_of_a_second_stage_are_its_whole_list_cut(
    stand: Stand, limit: int, diversify: Diversify | None, deduplicate: Deduplicate | None
) -> None:
    stages = {"rerank": Rerank("stars"), "diversify": diversify, "deduplicate": deduplicate, "pool": 50}
    whole = places(stand.engine.search(SearchQuery((stand.query,), limit=50, **stages)))  # type: ignore[arg-type]
    assert pages(stand, SearchQuery((stand.query,), limit=limit, **stages)) == whole  # type: ignore[arg-type]


def test_a_second_stage_says_what_it_cannot_do(stand: Stand) -> None:
    with pytest.raises(InvalidQueryError, match="weighed in the search already"):
        stand.engine.search(SearchQuery((stand.query,), axes={"warm": 1.0}, rerank=Rerank("warm")))
    cursor = stand.engine.search(SearchQuery((stand.query,), diversify=Diversify(), limit=5)).cursor
    with pytest.raises(InvalidCursorError):
        stand.engine.search(SearchQuery((stand.query,), limit=5, cursor=cursor))


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with language_server() as state:
        yield state


def test_a_rewrite_is_searched_with_the_original_and_kept_for_the_next_page(
    stand: Stand, server: LanguageServer
) -> None:
    server.answer = json.dumps({"description": "a red card, red paint on red paper"})
    engine = open_engine(stand.collection, stand.axes, model=EndpointModel(server.url("say"), "model"))
    wish = SearchQuery(
        (TextPart("red"), TextPart("blue", -0.3)), rephrase="detail", axes={"warm": 0.5}, limit=5
    )
    first = engine.search(wish)
    assert first.rewrite is not None
    assert first.rewrite.outcome == "ok", first.rewrite
    assert first.rewritten
    text = first.rewrite.text
    assert text is not None
    encode = ColourEncoder().encode_texts
    red_D, rewrite_D, blue_D = (encode([words])[0] for words in ("red", text, "blue"))
    whole_D = 0.5 * red_D + 0.5 * rewrite_D - 0.3 * blue_D
    length = np.linalg.norm(whole_D)
    for hit in first.hits:
        stored_D = stand.stored_ND[places(first)[first.hits.index(hit)]]
        assert hit.contributions["rewrite"] == pytest.approx(stored_D @ rewrite_D * 0.5 / length, abs=1e-4)
        query_share = stored_D @ (0.5 * red_D - 0.3 * blue_D) / length
        assert hit.contributions["query"] == pytest.approx(query_share, abs=1e-4)
        assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-4)
    original = places(engine.search(SearchQuery(wish.parts, axes=wish.axes, limit=5)))
    for hit, place in zip(first.hits, places(first), strict=True):
        assert ("query" in hit.found_by) == (place in original)

    server.answer = "no JSON at all"  # asked again, it would say something else
    second = engine.search(
        SearchQuery(wish.parts, rephrase="detail", axes=wish.axes, limit=5, cursor=first.cursor)
    )
    assert second.rewritten
    assert second.rewrite is None
    assert not set(places(first)) & set(places(second))


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [("slow", "timeout"), ("500", "unreachable"), ("garbage", "refused_answer"), ("empty", "refused_answer"),
     ("huge", "refused_answer")],
)  # fmt: skip
def test_whatever_a_model_does_the_search_is_the_originals(
    stand: Stand, server: LanguageServer, behaviour: str, outcome: str
) -> None:
    encoder, moments = ColourEncoder(), MomentsCache()
    timeout_s = 0.5 if outcome == "timeout" else PATIENCE_S
    rephraser = Rephraser(encoder, EndpointModel(server.url(behaviour), "model"), timeout_s=timeout_s)
    engine = Engine(
        stand.collection, encoder, stand.axes, LIMITS,
        rephraser=rephraser, moments=moments, matches=MatchCache(encoder, moments),
    )  # fmt: skip
    plain = engine.search(SearchQuery((TextPart("red"),)))
    answer = engine.search(SearchQuery((TextPart("red"),), rephrase="detail"))
    assert answer.rewrite is not None
    assert answer.rewrite.outcome == outcome
    assert answer.rewrite.milliseconds < 1000 * PAUSE_S  # the slow server was not waited for
    assert not answer.rewritten
    assert places(answer) == places(plain)


def test_without_one_text_or_a_model_nothing_is_rephrased(stand: Stand) -> None:
    for parts, outcome in (
        ((stand.query,), "not_needed"),
        ((TextPart("red"), TextPart("blue")), "not_needed"),
        ((TextPart("red"),), "not_configured"),
    ):
        answer = stand.engine.search(SearchQuery(parts, rephrase="detail"))
        assert answer.rewrite is not None
        assert (answer.rewrite.outcome, answer.rewritten) == (outcome, False)


def test_a_match_is_judged_by_the_words_whatever_axes_do(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, range(120))
    encoder, moments = ConceptEncoder(), MomentsCache()
    matches = MatchCache(encoder, moments)
    axes = AxisStore(collection.database, "default")
    engine = Engine(
        collection, encoder, axes, Limits(1, 1),
        rephraser=Rephraser(encoder, None), moments=moments, matches=matches,
    )  # fmt: skip

    def match(query: SearchQuery) -> Match | str:
        return engine.search(replace(query, mode="vectors")).match

    there = SearchQuery((TextPart("thing 7"),), limit=5)
    assert match(there) == "it is being learned"
    matches.wait(collection.snapshot())
    ids = [row.id for row in collection.snapshot().scroll(limit=4)]
    axes.put(fit_axis("warm", FromExtremes(tuple(ids[:2]), tuple(ids[2:])), collection, encoder))
    found = [match(SearchQuery((TextPart(f"thing {n}"),))) for n in range(0, 120, 6)]
    absent = [match(SearchQuery((TextPart(f"thing {n}"),))) for n in range(500, 520)]
    mean_found, mean_absent = (
        np.mean([one.probability for one in some if isinstance(one, Match)]) for some in (found, absent)
    )
    assert mean_found > mean_absent + 0.2
    assert match(SearchQuery((TextPart("thing 7"),), axes={"warm": 3.0})) == match(there)
    assert match(SearchQuery((TextPart("thing 7"), TextPart("thing 9", -1.0)))) == "only words are judged"
    assert match(SearchQuery(axes={"warm": 1.0})) == "only words are judged"
    first = engine.search(replace(there, mode="vectors"))
    second = SearchQuery(there.parts, limit=5, cursor=first.cursor)
    assert match(second) == "the first page says it"
    matches.close()
