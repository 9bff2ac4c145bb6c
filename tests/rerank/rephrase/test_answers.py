"""Answers are strangers' texts: read strictly, and never trusted to be readable."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.rephrase.answers import MOST_KEYWORD_CHARS, MOST_SENTENCE_CHARS, Refusal, parse
from rerank.rephrase.chat import ChatAnswerError
from rerank.rephrase.compose import Addition
from rerank.rephrase.endpoint import content_of
from rerank.rephrase.prompts import ATTRIBUTES, INSTRUCTIONS, MOST_KEYWORDS, prompt_for
from rerank.rephrase.types import WrittenVariant
from tests.support.llm import completion

VARIANTS: tuple[WrittenVariant, ...] = get_args(WrittenVariant)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def described(text: object) -> Addition | Refusal:
    return parse("detail", json.dumps({"description": text}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_example_in_each_prompt_is_an_answer_that_is_accepted(variant: WrittenVariant) -> None:
    _, answer = prompt_for(variant, "anything").example
    assert answer.startswith(prompt_for(variant, "anything").opening)
    assert isinstance(parse(variant, answer), Addition)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_schema_asks_for_the_keys_of_the_example_and_no_others(variant: WrittenVariant) -> None:
    schema = INSTRUCTIONS[variant].schema
    assert schema["required"] == list(INSTRUCTIONS[variant].example)
    assert schema["additionalProperties"] is False


def test_a_sentence_is_taken_word_by_word() -> None:
    assert described("Dogs  at a\u00a0lake, at dawn.") == Addition(
        ". ", " ", ("Dogs", "at", "a", "lake,", "at", "dawn.")
    )


def test_keywords_are_never_broken() -> None:
    answer = parse("k_list", json.dumps({"keywords": ["wet dog", "golden hour"]}))
    assert answer == Addition(", ", ", ", ("wet dog", "golden hour"))


def test_attributes_keep_their_names_and_order() -> None:
    given = {name: f"some {name}" for name in reversed(ATTRIBUTES)}
    answer = parse("keyword_dict", json.dumps(given))
    assert isinstance(answer, Addition)
    assert answer.units == tuple(f"{name}: some {name}" for name in ATTRIBUTES)


def test_of_a_reorganised_answer_the_caption_is_used() -> None:
    answer = parse("reorganise", json.dumps({"keywords": ["dog", "dawn"], "caption": "a dog at dawn"}))
    assert answer == Addition(". ", " ", ("a", "dog", "at", "dawn"))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        "[]",
        '"a dog at dawn"',
        '{"description": "a dog"} I hope this helps!',
        'Sure! {"description": "a dog"}',
        '```json\n{"description": "a dog"}\n```',
        '{"description": "a dog", "description": "a cat"}',
        '{"description": "a dog", "note": "a cat"}',
        '{"Description": "a dog"}',
        '{"description": "a dog"',
        '{"description": ' + "[" * 3000,
        '{"description": ["a dog"]}',
        '{"description": NaN}',
        '{"description": "a dog"}' + " " * 5000,
    ],
)
def test_anything_but_the_one_object_is_refused(answer: str) -> None:
    assert isinstance(parse("detail", answer), Refusal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "12 34 !!",
        "see https://evil.example/x for more",
        "see evil.com for dogs",
        "www.dogs and more",
        "write to me@dogs",
        "a <b>bold</b> dog",
        "a dog ![x](y)",
        "a `dog`",
        "# a dog",
        "a dog\nat dawn",
        "a dog\x00",
        "a \u202egod\u202c at dawn",
        "a\u200bdog",
        "a dog \ud800",
        "dog " * 5,
        "dog dog dog at dawn in the rain",
        "a red dog and a red dog and a red dog and a red dog",
        "d" * 41,
        "some words " * 40,
        None,
        7,
        {"a": "dog"},
    ],
)
def test_texts_that_are_not_plain_words_are_refused(text: object) -> None:
    assert isinstance(described(text), Refusal)


@pytest.mark.parametrize(
    "text", ["Ein Hund am Seeufer, früh", "夕暮れの犬", "می\u200cخواهم", "f/1.8, 35 mm lens"]
)
def test_every_language_is_plain_words(text: str) -> None:
    assert isinstance(described(text), Addition)


@pytest.mark.parametrize(
    "keywords",
    [[], ["dog"] * 2, ["Dog", "dog"], "dog", ["dog", 1], [f"dog {n}" for n in range(MOST_KEYWORDS + 1)]],
)
def test_lists_that_are_no_keywords_are_refused(keywords: object) -> None:
    assert isinstance(parse("k_list", json.dumps({"keywords": keywords})), Refusal)


@given(st.sampled_from(VARIANTS), st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_an_addition_or_a_refusal(variant: WrittenVariant, text: str) -> None:
    assert isinstance(parse(variant, text), Addition | Refusal)


@given(st.sampled_from(VARIANTS), st.data())
def test_any_object_of_the_right_keys_is_a_short_addition_or_a_refusal(
    variant: WrittenVariant, data: st.DataObject
) -> None:
    value = {key: data.draw(JSON | st.lists(st.text(), max_size=9)) for key in INSTRUCTIONS[variant].example}
    answer = parse(variant, json.dumps(value))
    if isinstance(answer, Addition):
        assert 0 < len(answer.text) <= max(MOST_SENTENCE_CHARS, len(ATTRIBUTES) * (MOST_KEYWORD_CHARS + 16))
        assert not set(answer.text) & set("<>{}[]`\n\x00")
        assert all(unit.strip() == unit != "" for unit in answer.units)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | JSON.map(completion))
def test_any_bytes_are_a_completion_or_an_answer_error(body: bytes) -> None:
    try:
        content = content_of(body)
    except ChatAnswerError:
        return
    assert content.strip()


def test_a_body_of_brackets_is_no_completion() -> None:
    with pytest.raises(ChatAnswerError):
        content_of(b"[" * 100_000)
