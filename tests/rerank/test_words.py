"""How the words of a query are looked for, and what they add to a search."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.collection.collection import Collection
from indexer.errors import InvalidQueryError
from indexer.tables.axes import AxisStore
from rerank.axes.fit_axis import FromField, fit_axis
from rerank.engine import Engine
from rerank.types import IdPart, RankQuery, SearchQuery, TextPart
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import open_engine
from tests.support.pictures import new_image, unit_vectors

CAPTIONS = {
    "rosella": "An Adelaide Rosella on a branch",
    "magpie": "A magpie on a branch, near Adelaide",
    "oslo": "The opera house of Oslo",
    "tower": "東京タワー at night",
    "sunset": "sunsetbeach",
    "plain": "nothing of note",
}


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    encoder = ColourEncoder()
    opened = Collection.open(tmp_path, model_id=encoder.model_id, dim=DIM)
    images = [new_image(name, caption=caption, n=n) for n, (name, caption) in enumerate(CAPTIONS.items())]
    opened.add(images, unit_vectors(len(images), DIM, seed=2))
    yield opened
    opened.close()


@pytest.fixture
def engine(collection: Collection) -> Engine:
    axes = AxisStore(collection.database, collection.name)
    axes.put(fit_axis("number", FromField("n"), collection, ColourEncoder()))
    return open_engine(collection, axes)


def found(engine: Engine, text: str, **fields: object) -> list[str]:
    answer = engine.search(SearchQuery((TextPart(text),), **fields))  # type: ignore[arg-type]
    return [Path(hit.image.uri).stem for hit in answer.hits]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Adelaide Rosella", "rosella"),
        ("ROSELLA", "rosella"),
        ("opera oslo", "oslo"),
        ("東京", "tower"),
        ("京タ", "tower"),
    ],
)
def test_what_is_written_is_found_first(engine: Engine, text: str, first: str) -> None:
    assert found(engine, text)[0] == first
    assert found(engine, text, mode="words")[0] == first


@pytest.mark.parametrize(
    ("text", "first"), [("beach", "sunset"), ("rosela", "rosella"), ("magpei", "magpie"), ("osl", "oslo")]
)
def test_a_part_or_a_slip_of_the_finger_finds_the_word(engine: Engine, text: str, first: str) -> None:
    assert found(engine, text, mode="words") == [first]


def test_words_alone_show_what_matches_and_nothing_else(engine: Engine) -> None:
    assert found(engine, "adelaide branch", mode="words") == ["rosella", "magpie"]
    assert found(engine, "elephant", mode="words") == []
    assert len(found(engine, "elephant")) == len(CAPTIONS)  # vectors have an answer to everything


def test_phrases_have_to_be_there_and_what_is_struck_out_must_not(engine: Engine) -> None:
    assert found(engine, '"adelaide rosella"') == ["rosella"]
    assert found(engine, '"rosella adelaide"') == []
    assert "rosella" not in found(engine, "branch -rosella")
    assert found(engine, 'branch -"near adelaide"', mode="words") == ["rosella"]
    assert len(found(engine, 'branch -"near adelaide"', mode="vectors")) == len(CAPTIONS)  # taken as it is


def test_without_anything_to_look_for_nothing_is_guessed(engine: Engine, collection: Collection) -> None:
    with pytest.raises(InvalidQueryError, match="only says what must not be there"):
        found(engine, "-rosella")
    for parts, message in (
        ((TextPart("-rosella"),), "needs a word to look for"),
        ((TextPart("a"), IdPart(collection.snapshot().ids()[0])), "leave out pictures, ids"),
        ((TextPart("a"), TextPart("b", -1.0)), "negative weights"),
        ((), "nothing to look for"),
    ):
        with pytest.raises(InvalidQueryError, match=message):
            engine.search(SearchQuery(parts, mode="words"))
    with pytest.raises(InvalidQueryError, match="words_weight is 0: expected more than 0"):
        found(engine, "rosella", mode="words", words_weight=0.0)
    with pytest.raises(InvalidQueryError, match="words_weight is -1"):
        found(engine, "rosella", words_weight=-1.0)


def test_each_word_says_how_it_was_looked_for(engine: Engine) -> None:
    answer = engine.search(SearchQuery((TextPart("the branch rosela beach elephant"),)))
    sought = {word.word: (word.how, word.forms, word.pictures) for word in answer.words}
    assert sought == {
        "branch": ("equal", ("branch",), 2),
        "rosela": ("spelling", ("rosella",), 1),
        "beach": ("part", ("sunsetbeach",), 1),
        "elephant": ("equal", (), 0),
    }


def test_beside_vectors_a_short_word_is_no_part_of_others(engine: Engine) -> None:
    """A name of three letters stands in many words that mean something else."""
    (sought,) = engine.search(SearchQuery((TextPart("sel"),))).words
    assert (sought.forms, sought.pictures) == ((), 0)
    assert found(engine, "sel", mode="words") == ["rosella"]


def test_a_guess_counts_a_fraction_of_a_match(engine: Engine) -> None:
    def words_of(text: str) -> float:
        hits = engine.search(SearchQuery((TextPart(text),))).hits
        spread = engine.search(SearchQuery((TextPart(text),), words_weight=0.0, limit=6)).hits
        scores = [hit.score or 0.0 for hit in spread]
        mean = sum(scores) / len(scores)
        unit = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
        return max(hit.contributions["words"] for hit in hits) / unit

    assert words_of("rosela") == pytest.approx(0.3**1.5 * words_of("rosella"), rel=1e-3)


def test_a_phrase_ends_with_its_text(engine: Engine, collection: Collection) -> None:
    image_id = collection.snapshot().ids()[0]
    collection.patch(image_id, {"tags": ["red car", "fast dog"]})
    assert found(engine, '"red car"') == found(engine, '"fast dog"') == ["rosella"]
    assert found(engine, '"car fast"') == []
    assert "rosella" in found(engine, 'branch -"car fast"')


def test_of_a_very_long_text_it_is_said_what_was_left_out(engine: Engine) -> None:
    text = " ".join(f"nothing{n}" for n in range(70)) + " rosella"
    answer = engine.search(SearchQuery((TextPart(text),)))
    assert "only the first 64 words are looked up: 7 are left out" in answer.warnings
    assert len(answer.words) == 64


def test_the_contribution_of_words_is_bm25_in_deviations_of_the_query(engine: Engine) -> None:
    answer = engine.search(SearchQuery((TextPart("rosella elephant"),), limit=6))
    images = len(CAPTIONS)
    idf, absent = (math.log1p((images - held + 0.5) / (held + 0.5)) for held in (1, 0))
    count = 2 + 2  # in the caption and in the name of the file
    value = (idf * count / (count + 1.2) / (idf + absent)) ** 1.5
    unit = engine.search(SearchQuery((TextPart("rosella elephant"),), words_weight=0.0))
    scores = [hit.score for hit in unit.hits]
    assert None not in scores
    first = next(hit for hit in answer.hits if hit.image.uri.endswith("rosella.png"))
    mean = sum(s for s in scores if s is not None) / images
    spread = math.sqrt(sum((s - mean) ** 2 for s in scores if s is not None) / images)
    assert first.contributions["words"] == pytest.approx(10 * spread * value, rel=1e-3)
    assert all(hit.contributions["words"] == 0 for hit in answer.hits if hit is not first)
    assert "words" not in unit.hits[0].contributions


def test_a_word_that_very_many_hold_is_left_to_the_vectors(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank.words.FEW_MATCHES", 1)
    answer = engine.search(SearchQuery((TextPart("adelaide rosella"),)))
    assert [(word.word, word.how) for word in answer.words] == [("adelaide", "common"), ("rosella", "equal")]
    assert [hit.image.uri[-11:] for hit in answer.hits if hit.contributions["words"]] == ["rosella.png"]
    assert found(engine, "adelaide", mode="words") == ["rosella", "magpie"]
    assert "words" not in engine.search(SearchQuery((TextPart("adelaide"),))).hits[0].contributions


def test_a_word_that_is_being_typed_may_go_on(engine: Engine) -> None:
    assert found(engine, "adelaide ros", mode="words", typing=True)[0] == "rosella"
    assert found(engine, "ope", mode="words", typing=True) == ["oslo"]


def test_where_words_stand_is_said(engine: Engine) -> None:
    (hit,) = engine.search(SearchQuery((TextPart('"adelaide rosella"'),))).hits
    marked = {h.field: [h.text[a:b] for a, b in h.spans] for h in hit.highlights}
    assert marked == {"name": ["rosella"], "caption": ["Adelaide", "Rosella"]}


def test_pages_go_on_with_the_words_of_the_first_whatever_is_deleted(
    engine: Engine, collection: Collection
) -> None:
    whole = engine.search(SearchQuery((TextPart("adelaide branch"),), limit=6))
    first = engine.search(SearchQuery((TextPart("adelaide branch"),), limit=2))
    gone = next(hit.image.id for hit in whole.hits if hit.image.uri.endswith("magpie.png"))
    collection.delete([gone])  # now one picture in five holds the words, not two in six
    rest = engine.search(SearchQuery((TextPart("adelaide branch"),), limit=6, cursor=first.cursor))
    shown = [(hit.image.id, hit.score) for hit in [*first.hits, *rest.hits] if hit.image.id != gone]
    expected = [(hit.image.id, hit.score) for hit in whole.hits if hit.image.id != gone]
    assert [i for i, _ in shown] == [i for i, _ in expected]
    assert [s for _, s in shown] == pytest.approx([s for _, s in expected], abs=1e-6)


def test_a_ranking_orders_the_matches_of_words(engine: Engine, collection: Collection) -> None:
    names = {row.id: Path(row.uri).stem for row in collection.snapshot().scroll()}
    query = RankQuery(axes={"number": 1.0}, parts=(TextPart("adelaide branch"),), mode="words")
    assert [names[hit.image.id] for hit in engine.rank(query).hits] == ["magpie", "rosella"]
    few = RankQuery(axes={"number": 1.0}, parts=(TextPart("adelaide branch"),), candidates=2)
    assert [names[hit.image.id] for hit in engine.rank(few).hits] == ["magpie", "rosella"]


def test_where_all_words_are_written_about_a_hit_nothing_is_said_to_be_missing(engine: Engine) -> None:
    written = "all words of the query are written about one of the hits"
    for text, is_written in (
        ("Adelaide Rosella", True),
        ("the rosella", True),
        ("rosella oslo", False),  # in two pictures
        ("rosela", False),
        ("rosella elephant", False),
    ):
        match = engine.search(SearchQuery((TextPart(text),))).match
        assert (match == written) == is_written, text
    assert engine.search(SearchQuery((TextPart("rosella"),), mode="vectors")).match != written
