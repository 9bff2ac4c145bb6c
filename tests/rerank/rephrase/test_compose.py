"""The query first and whole, then as much as fits."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from rerank.rephrase.compose import Addition, compose, repeat

WORDS = st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=8)


def words(most: int) -> Callable[[str], bool]:
    return lambda text: len(text.split()) <= most


@given(WORDS, WORDS, st.sampled_from([". ", ", ", " "]), st.sampled_from([", ", " "]), st.integers(0, 20))
def test_the_text_is_the_query_and_the_longest_run_of_units_that_fits(
    query: list[str], units: list[str], lead: str, separator: str, most: int
) -> None:
    text = " ".join(query)
    expected = None
    for count in range(1, len(units) + 1):
        candidate = text + lead + separator.join(units[:count])
        if len(candidate.split()) <= most:
            expected = candidate
    assert compose(text, Addition(lead, separator, tuple(units)), words(most)) == expected


def test_a_keyword_that_does_not_fit_whole_is_left_out() -> None:
    addition = Addition(", ", ", ", ("wet fur", "golden hour"))
    assert compose("a dog", addition, words(5)) == "a dog, wet fur"


def test_a_query_that_ends_a_sentence_gets_no_second_stop() -> None:
    assert compose("a dog!", Addition(". ", " ", ("At", "dawn")), words(9)) == "a dog! At dawn"


def test_repeat_says_it_twice() -> None:
    assert compose("a red dog", repeat("a red dog"), words(9)) == "a red dog a red dog"
    assert compose("a red dog", repeat("a red dog"), words(4)) == "a red dog a"
