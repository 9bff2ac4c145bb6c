"""An edit moves a picture to another slot. The pages of an answer show every picture once all the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact
from indexer.collection.snapshot import LocalSnapshot
from indexer.filters.language import parse_filter
from indexer.tables.axes import AxisStore
from indexer.types import ImageId, ImageRow
from rerank.axes.fit_axis import fit_by_extremes, fit_by_field
from rerank.engine import Engine
from rerank.types import Answer, Deduplicate, Diversify, RankQuery, Rerank, SearchQuery, VectorPart
from tests.support.build import build
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import open_engine
from tests.support.pictures import new_image, unit_vectors

N = 100
LIMIT = 35
EQUAL = 40  # pictures with one and the same vector
QUERY = VectorPart(unit_vectors(2, DIM, seed=8)[0])


@dataclass
class Stand:
    collection: Collection
    axes: AxisStore
    engine: Engine
    ids: list[ImageId]

    def add(self, count: int) -> None:
        """As near to the query as can be: they would come first."""
        names = [f"late {len(self.ids)} {n}" for n in range(count)]
        self.collection.add(
            [new_image(name) for name in names], np.repeat(QUERY.vector_D[None], count, axis=0)
        )


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    vectors_ND = unit_vectors(N, DIM, seed=1)
    vectors_ND[30 : 30 + EQUAL] = vectors_ND[30]
    images = [new_image(n, stars=n % 3) if n % 4 else new_image(n) for n in range(N)]
    ids = collection.add(images, vectors_ND)
    axes = AxisStore(collection.database, "default")
    axes.put(fit_by_extremes("warm", ids[:5], ids[5:10], collection, ColourEncoder()))
    axes.put(fit_by_field("stars", "stars", collection, ColourEncoder()))
    return Stand(collection, axes, open_engine(collection, axes), ids)


def pages(
    ask: Callable[[Any], Answer], query: SearchQuery | RankQuery, between: Callable[[list[ImageId]], None]
) -> list[ImageId]:
    """The ids of all pages; `between` two of them it is called with those shown."""
    query, shown = replace(query, limit=LIMIT), []
    while True:
        answer = ask(query)
        shown += [hit.image.id for hit in answer.hits]
        if answer.cursor is None:
            return shown
        between(shown)
        query = replace(query, cursor=answer.cursor)


EVERYTHING = {"must": [{"range": {"id": {"gte": 1}}}]}
LISTS: dict[str, SearchQuery | RankQuery] = {
    "search": SearchQuery((QUERY,)),
    "search with an axis": SearchQuery((QUERY,), axes={"warm": 1.0}),
    "search with a field": SearchQuery((QUERY,), axes={"warm": 1.0, "stars": 0.5}),
    "search with a filter": SearchQuery((QUERY,), filter=parse_filter(EVERYTHING)),
    "rerank": SearchQuery((QUERY,), rerank=Rerank("warm"), pool=N),
    "diversify": SearchQuery((QUERY,), diversify=Diversify("mmr", 0.5), pool=N),
    "rank": RankQuery({"warm": 1.0}),
    "rank by a field, some without": RankQuery({"stars": 1.0}),
    "rank by a field, rising": RankQuery({"stars": 1.0}, order="asc"),
    "rank by two": RankQuery({"warm": 1.0, "stars": 1.0}, order="asc"),
    "rank of a query's matches": RankQuery({"warm": 1.0}, parts=(QUERY,), candidates=N),
}
EQUALS_STAY = {"rerank", "diversify"}  # all in one order, which the first page fixes


def edit_shown(stand: Stand, shown: list[ImageId]) -> None:
    for image_id in shown[-3:]:
        stand.collection.patch(image_id, {"caption": str(len(shown))})


def edit_others(stand: Stand, shown: list[ImageId]) -> None:
    for image_id in sorted(set(stand.ids) - set(shown))[::7]:
        stand.collection.patch(image_id, {"caption": str(len(shown))})


def fill(stand: Stand, shown: list[ImageId]) -> None:
    stand.collection.fill({image_id: {f"note {len(shown)}": 1} for image_id in stand.ids})


def edit_and_add(stand: Stand, shown: list[ImageId]) -> None:
    edit_shown(stand, shown)
    stand.add(5)
    edit_others(stand, shown)
    late = max(row.id for row in stand.collection.snapshot().scroll(limit=1000))
    stand.collection.patch(late, {"caption": "added later, then edited"})


def edit_and_give_back_space(stand: Stand, shown: list[ImageId]) -> None:
    fill(stand, shown)
    compact(stand.collection, Aims(memory_bytes=1 << 28, threads=1), reclaim=True)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("edit", [edit_shown, edit_others, fill, edit_and_add, edit_and_give_back_space])
def test_pages_show_every_picture_once(
    stand: Stand, name: str, edit: Callable[[Stand, list[ImageId]], None]
) -> None:
    query = LISTS[name]
    ask: Callable[[Any], Answer] = (
        stand.engine.search if isinstance(query, SearchQuery) else stand.engine.rank
    )
    before = ask(replace(query, limit=N))
    score = {hit.image.id: hit.score for hit in before.hits}
    found = pages(ask, query, lambda shown: edit(stand, shown))
    assert sorted(found) == stand.ids
    if name not in EQUALS_STAY:
        known = [value for image_id in found if (value := score[image_id]) is not None]
        rising = isinstance(query, RankQuery) and query.order == "asc"
        assert known == pytest.approx(sorted(known, reverse=not rising), abs=1e-5)
        assert [score[image_id] for image_id in found].count(None) == N - len(known)
        assert None not in [score[image_id] for image_id in found[: len(known)]]  # these stand last


@pytest.mark.parametrize("edited", [False, True])
def test_pages_of_an_approximate_search_go_on(tmp_path: Path, edited: bool) -> None:
    """Also when asking for more brings up better ones, which the pages before had missed."""
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM, exact_rows=0)
    ids = collection.add([new_image(n) for n in range(8000)], unit_vectors(8000, DIM, seed=1))
    build(collection, "ivf_sq8")
    engine = open_engine(collection, AxisStore(collection.database, "default"))
    query, shown = SearchQuery((QUERY,), limit=20, recall=0.9), list[ImageId]()
    for page in range(30):
        answer = engine.search(query)
        assert (answer.mode, len(answer.hits)) == ("top_k", 20)
        shown += [hit.image.id for hit in answer.hits]
        if edited:
            changed = [shown[-1], ids[page], ids[-page]]
            collection.fill({image_id: {f"note {page}": 1} for image_id in changed})
        query = replace(query, cursor=answer.cursor)
    assert len(set(shown)) == len(shown)


def test_a_picture_that_is_deleted_drops_out_among_the_edited(stand: Stand) -> None:
    gone: list[ImageId] = []

    def between(shown: list[ImageId]) -> None:
        fill(stand, shown)
        gone.extend(stand.collection.delete(sorted(set(stand.ids) - set(shown) - set(gone))[:2]))

    found = pages(stand.engine.search, LISTS["search"], between)
    assert len(found) == len(set(found))
    assert set(gone) & set(found) == set()
    assert set(gone) | set(found) == set(stand.ids)


def test_a_picture_that_rises_stays_where_the_first_page_saw_it(stand: Stand) -> None:
    whole = [hit.image.id for hit in stand.engine.rank(RankQuery({"stars": 1.0}, limit=N)).hits]
    risen: list[ImageId] = []

    def between(shown: list[ImageId]) -> None:
        if not risen:
            risen.extend(sorted(set(stand.ids) - set(shown))[:20])
            stand.collection.fill({image_id: {"stars": 2} for image_id in risen})
            for image_id in risen:
                stand.collection.patch(image_id, {"stars": 9})

    assert pages(stand.engine.rank, LISTS["rank by a field, some without"], between) == whole


def test_near_duplicates_are_counted_though_the_hit_was_edited(stand: Stand) -> None:
    query = SearchQuery((QUERY,), deduplicate=Deduplicate(bits=0), pool=N, limit=1)
    whole = stand.engine.search(replace(query, limit=N)).hits
    first = stand.engine.search(query)
    fill(stand, [])
    rest = stand.engine.search(replace(query, limit=N, cursor=first.cursor)).hits
    expected = [(hit.image.id, hit.duplicates) for hit in whole]
    assert [(hit.image.id, hit.duplicates) for hit in [*first.hits, *rest]] == expected


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """`happens` once, after a search has found its pictures and before it reads what they are."""
    read = LocalSnapshot.rows
    todo = [happens]

    def rows(snapshot: LocalSnapshot, ids: Any) -> list[ImageRow]:  # noqa: ANN401
        while todo:
            todo.pop()()
        return read(snapshot, ids)

    monkeypatch.setattr(LocalSnapshot, "rows", rows)


@pytest.mark.parametrize("name", ["search", "rerank", "diversify", "rank", "rank by a field, some without"])
def test_a_hit_that_is_edited_while_it_is_found_is_not_lost(
    stand: Stand, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = LISTS[name]
    ask: Callable[[Any], Answer] = (
        stand.engine.search if isinstance(query, SearchQuery) else stand.engine.rank
    )
    meanwhile(monkeypatch, lambda: fill(stand, [ImageId(0)]))
    found = pages(ask, query, lambda _: None)
    assert sorted(found) == stand.ids


@pytest.mark.parametrize("name", ["search", "rerank", "rank"])
def test_a_hit_that_is_deleted_while_it_is_found_is_shown_as_it_was_and_not_again(
    stand: Stand, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = LISTS[name]
    ask: Callable[[Any], Answer] = (
        stand.engine.search if isinstance(query, SearchQuery) else stand.engine.rank
    )
    expected = ask(replace(query, limit=6)).hits
    meanwhile(monkeypatch, lambda: stand.collection.delete([expected[2].image.id]))
    assert ask(replace(query, limit=6)).hits == expected
    after = [hit.image.id for hit in ask(replace(query, limit=5)).hits]
    assert after == [hit.image.id for hit in expected if hit is not expected[2]]


def test_a_page_whose_hits_are_all_deleted_meanwhile_does_not_end_the_list(stand: Stand) -> None:
    ids = [hit.image.id for hit in stand.engine.rank(RankQuery({"warm": 1.0}, limit=9)).hits]
    first = stand.engine.rank(RankQuery({"warm": 1.0}, limit=1))
    stand.collection.delete(ids[:4])
    second = stand.engine.rank(RankQuery({"warm": 1.0}, limit=2, cursor=first.cursor))
    assert [hit.image.id for hit in second.hits] == ids[4:6]
