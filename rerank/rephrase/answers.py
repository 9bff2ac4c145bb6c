"""A model's answer → what to add to the query, or why not. Pure, and strict: an answer is a stranger's text.

An answer is one JSON object of the form in `prompts` and nothing else. No code fence, no prose around it, no
unknown key. Its words are plain: no markup, links, addresses or invisible characters, not blank, not endless,
not the same thing over and over.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from rerank.rephrase.compose import Addition
from rerank.rephrase.prompts import ATTRIBUTES, INSTRUCTIONS, MOST_KEYWORDS
from rerank.rephrase.types import WrittenVariant

MOST_CHARS = 4000  # of an answer
MOST_SENTENCE_CHARS = 400
MOST_KEYWORD_CHARS = 60
MOST_WORD_CHARS = 40
MOST_RUN = 2  # of one word in a row
FEWEST_DISTINCT = 0.5  # share of words that differ; ordinary captions have above 0.7
SHORT = 8  # words in which repetition says nothing yet

MARKUP = frozenset("<>{}[]`|\\^~=$#*_@")
LINK = re.compile(
    r"://|\bwww\.|\w\.[a-z]{2,}", re.IGNORECASE
)  # a name with a dot inside is an address or file
JOINERS = "\u200c\u200d"  # invisible, but Persian and Indic scripts and emoji are spelt with them


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str


class _RefusedError(Exception):
    """Stays in this module: `parse` turns it into a Refusal."""


def parse(variant: WrittenVariant, answer: str) -> Addition | Refusal:
    """Read `answer`; never raises, whatever it holds."""
    try:
        return READERS[variant](_object(variant, answer))
    except _RefusedError as error:
        return Refusal(str(error))


def _object(variant: WrittenVariant, answer: str) -> Mapping[str, object]:
    if len(answer) > MOST_CHARS:
        raise _RefusedError(f"the answer has {len(answer)} characters, more than {MOST_CHARS}")
    try:
        value = json.loads(answer, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _RefusedError("the answer is not one JSON object and nothing else") from error
    wanted = set(INSTRUCTIONS[variant].example)
    if not isinstance(value, dict) or value.keys() != wanted:
        raise _RefusedError(f"the answer is not an object of {', '.join(sorted(wanted))}")
    return value


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError("the answer names a key twice")
    return found


def _sentence(value: object) -> Addition:
    words = _plain(value, MOST_SENTENCE_CHARS).split()
    _check_repetition(words)
    return Addition(". ", " ", tuple(words))


def _keywords(value: object) -> Addition:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_KEYWORDS:
        raise _RefusedError(f"keywords are not a list of 1 to {MOST_KEYWORDS}")
    keywords = [_plain(keyword, MOST_KEYWORD_CHARS) for keyword in value]
    distinct = tuple({keyword.casefold(): keyword for keyword in keywords}.values())
    if len(distinct) < len(keywords):
        raise _RefusedError("a keyword is given twice")
    _check_repetition(" ".join(distinct).split())
    return Addition(", ", ", ", distinct)


def _attributes(value: Mapping[str, object]) -> Addition:
    pairs = {name: _plain(value[name], MOST_KEYWORD_CHARS) for name in ATTRIBUTES}
    _check_repetition(" ".join(pairs.values()).split())
    return Addition(", ", ", ", tuple(f"{name}: {text}" for name, text in pairs.items()))


def _reorganised(value: Mapping[str, object]) -> Addition:
    """The caption; the keywords were only the way to it, but they must be in order too."""
    _keywords(value["keywords"])
    return _sentence(value["caption"])


READERS = {
    "detail": lambda value: _sentence(value["description"]),
    "k_list": lambda value: _keywords(value["keywords"]),
    "keyword_dict": _attributes,
    "reorganise": _reorganised,
}


def _plain(value: object, most_chars: int) -> str:
    """`value` with single spaces, when it is nothing but plain words."""
    if not isinstance(value, str):
        raise _RefusedError(f"a {type(value).__name__} stands where words should")
    if len(value) > most_chars:
        raise _RefusedError(f"a text has {len(value)} characters, more than {most_chars}")
    if any(_is_invisible(char) for char in value):
        raise _RefusedError("a text holds control or invisible characters")
    if MARKUP.intersection(value) or LINK.search(value):
        raise _RefusedError("a text holds markup, a link or an address")
    text = " ".join(value.split())
    if not any(char.isalpha() for char in text):
        raise _RefusedError("a text holds no words")
    if max(map(len, text.split())) > MOST_WORD_CHARS:
        raise _RefusedError("a text holds a word without end")
    return text


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" and char not in JOINERS


def _check_repetition(words: list[str]) -> None:
    folded = [word.casefold().strip(".,;:!?") for word in words]
    run = 1
    for before, word in pairwise(folded):
        run = run + 1 if word == before else 1
        if run > MOST_RUN:
            raise _RefusedError(f"the word {word!r} is repeated over and over")
    if len(folded) > SHORT and len(set(folded)) < FEWEST_DISTINCT * len(folded):
        raise _RefusedError("the same words are repeated over and over")
