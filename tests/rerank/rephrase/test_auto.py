"""Which queries are rephrased, judged by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.calibration_queries import CALIBRATION_QUERIES
from rerank.rephrase.auto import LOOKS, MOST_WORDS, choose


@pytest.mark.parametrize(
    "query",
    [
        "dog",
        "red bicycle",
        "children playing",
        "Hund am See",
        "a street in the 1950s",
        "well-lit room",
        "夕暮れ",
    ],
)
def test_short_and_open_queries_get_detail(query: str) -> None:
    assert choose(query).variant == "detail"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "no words"),
        ("12 34", "no words"),
        ('"old town road"', "quotes"),
        ("a sign that says ‘open’", "quotes"),
        ("street without people", "excludes"),
        ("beach -people", "excludes"),
        ("a dog that isn't brown", "excludes"),
        ("IMG_1234", "file"),
        ("beach.jpg", "file"),
        ("DSC00042", "file"),
        ("order 1234567", "file"),
        ("tag:holiday", "file"),
        ("a dog, watercolour", "medium: watercolour"),
        ("Close-up of a bee", "composition: close up"),
        ("lake at golden hour", "lighting: golden hour"),
        ("vintage car", "style: vintage"),
        ("bird’s-eye view of a farm", "composition: birds eye"),
        ("a small brown dog who runs along a beach", "enough"),
    ],
)
def test_queries_that_are_precise_already_are_left_alone(query: str, reason: str) -> None:
    choice = choose(query)
    assert choice.variant == "original"
    assert reason in choice.reason


def test_parts_of_words_state_nothing() -> None:
    assert choose("an iconic hdri knob").variant == "detail"


@pytest.mark.parametrize("kind", LOOKS)
def test_every_look_of_the_vocabulary_is_recognised(kind: str) -> None:
    for phrase in LOOKS[kind]:
        assert choose(f"a dog {phrase}").reason == f"it states a {kind}: {phrase}", phrase


def test_everyday_queries_are_left_alone_only_for_their_look() -> None:
    for query in CALIBRATION_QUERIES:
        states_a_look = "black and white" in query or "portrait" in query
        assert (choose(query).variant == "original") == states_a_look, query


def test_a_query_of_one_word_more_than_enough_is_left_alone() -> None:
    words = ["small", "brown", "dogs", "running", "along", "beaches", "together"]
    assert choose(" ".join(words[:MOST_WORDS])).variant == "detail"
    assert choose(" ".join(words[: MOST_WORDS + 1])).variant == "original"


@given(st.text())
def test_every_text_gets_a_choice_and_a_reason(query: str) -> None:
    assert choose(query).reason
