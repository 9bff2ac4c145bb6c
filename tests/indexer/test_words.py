"""Tokens, what a typed text asks for, and where words stand in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.words import BREAK, MOST_TOKENS, WEIGHTS, parse, spans, tokens, words_of

JULY_2008 = 1_215_000_000.0  # 2 July 2008


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Adelaide Rosella", ["adelaide", "rosella"]),
        ("IMG_5195.JPG", ["img", "5195", "jpg"]),
        ("Gran Turismo 5", ["gran", "turismo", "5"]),
        ("Ångström CAFÉ cafe\u0301 straße", ["angstrom", "cafe", "cafe", "strasse"]),
        ("ﬁne ½", ["fine", "1", "2"]),
        ("富士山", ["富士", "士山"]),
        ("狗", ["狗"]),
        ("東京tower", ["東京", "tower"]),
        ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี"]),
        ("dog 🐶🐕", ["dog", "🐶", "🐕"]),
        ("Москва Ёлка", ["москва", "елка"]),
        ("", []),
        ("-- _ . /", []),
    ],
)
def test_a_text_becomes_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(st.text(max_size=60))
def test_tokens_are_folded_already_and_stay_as_they_are(text: str) -> None:
    for token in tokens(text):
        assert tokens(token) == [token]
        assert not set(token) & set(' "%_*')


def test_a_text_without_end_is_cut() -> None:
    assert len(tokens("a b " * MOST_TOKENS)) == MOST_TOKENS
    assert [len(token) for token in tokens("x" * 1000)] == [64]


@pytest.mark.parametrize(
    ("text", "words", "phrases", "without", "read"),
    [
        ("red car", ("red", "car"), (), (), "red car"),
        ('red "old town"', ("red", "old", "town"), (("old", "town"),), (), "red old town"),
        ("car -truck", ("car",), (), (("truck",),), "car"),
        ('car -"sports car" -van', ("car",), (), (("sports", "car"), ("van",)), "car"),
        ("black-and-white -", ("black", "and", "white"), (), (), "black-and-white -"),
        ('an "open end', ("an", "open", "end"), (), (), 'an "open end'),
        ('"富士山"', ("富士", "士山"), (("富士", "士山"),), (), "富士山"),
        ("-truck", (), (), (("truck",),), ""),
        ('"" -""', (), (), (), ""),
        (
            "“old town” –truck −van",
            ("old", "town"),
            (("old", "town"),),
            (("truck",), ("van",)),
            "old town",
        ),
        ("«old town» bench", ("old", "town", "bench"), (("old", "town"),), (), "old town bench"),
    ],
)
def test_what_a_typed_text_asks_for(
    text: str,
    words: tuple[str, ...],
    phrases: tuple[tuple[str, ...], ...],
    without: tuple[tuple[str, ...], ...],
    read: str,
) -> None:
    query = parse(text)
    assert (query.words, query.phrases, query.without, query.text) == (words, phrases, without, read)


@pytest.mark.parametrize(
    ("text", "last"),
    [("red ca", "ca"), ("red ", None), ("red -ca", None), ('"old to', "to"), ('"old to"', None), ("", None)],
)
def test_only_a_word_at_the_end_may_go_on(text: str, last: str | None) -> None:
    assert parse(text).last == last


def test_a_text_that_is_there_twice_counts_once() -> None:
    told = words_of("upload:1", None, {"caption": "A boat", "captions": {"en": "a boat", "de": "ein Boot"}})
    assert told == {"caption": ["a", "boat", BREAK, "ein", "boot"]}


def test_everything_that_is_written_of_a_picture_is_found_by_its_field() -> None:
    told = words_of(
        "/home/ana/Photos/Norway 2019/fjord/IMG_5195.JPG",
        JULY_2008,
        {
            "caption": "A boat",
            "captions": {"de": "Ein Boot"},
            "title": "Sea",
            "tags": ["blue", "two words"],
            "camera": "Nikon D750",
            "city": "Bergen",
            "deep": {"note": "hidden", "tags": ["inner"]},
            "generated": {"prompt": "a castle", "negative_prompt": "ugly"},
            "dhash": "0123456789abcdef",
            "stars": 5,
        },
    )
    assert told == {
        "name": ["photos", "norway", "2019", "fjord", "img", "5195"],
        "date": ["july", "2008", BREAK, "summer", "2008"],
        "caption": ["a", "boat", BREAK, "ein", "boot", BREAK, "a", "castle"],
        "title": ["sea"],
        "tags": ["blue", BREAK, "two", "words", BREAK, "inner"],
        "camera": ["nikon", "d750"],
        "place": ["bergen"],
        "other": ["hidden"],
    }
    assert set(told) <= set(WEIGHTS)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("upload:0123", []),
        ("https://example.org/a%20b/c.png?x=1", ["a", "b", "c"]),
        ("/data/shard-1.tar#0001/cat.jpg", ["data", "shard", "1", "tar", "0001", "cat"]),
        ("README", ["readme"]),
    ],
)
def test_the_name_of_a_file_and_its_folders_are_words(uri: str, expected: list[str]) -> None:
    assert words_of(uri, None, {}).get("name", []) == expected


@pytest.mark.parametrize(
    ("seconds", "latitude", "expected"),
    [
        (0.0, None, ["january", "1970", BREAK, "winter", "1970"]),
        (0.0, -33.9, ["january", "1970", BREAK, "summer", "1970"]),
        (JULY_2008, -33.9, ["july", "2008", BREAK, "winter", "2008"]),
        (90 * 86_400.0, 10, ["april", "1970", BREAK, "spring", "1970"]),
        (273 * 86_400.0, 0, ["october", "1970", BREAK, "autumn", "1970"]),
        (1e18, None, []),
        (-1e18, None, []),
    ],
)
def test_a_date_is_said_in_words(seconds: float, latitude: float | None, expected: list[str]) -> None:
    assert words_of("a", seconds, {"latitude": latitude}).get("date", []) == expected


def test_matches_are_found_where_they_stand() -> None:
    text = "Café at the 富士山, cafe\u0301 🐶!"
    places = spans(text, ["cafe", "士山", "🐶"])
    assert [text[start:end] for start, end in places] == ["Café", "士山", "cafe\u0301", "🐶"]
    assert spans(text, ["caf"]) == []
