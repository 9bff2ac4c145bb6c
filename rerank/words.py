"""A typed text → the words that are looked for in what is written about the pictures.

A word counts as itself. Where no picture holds it, words that contain it count a little less, and where none
does, words that one slip of the finger makes of it: the answer says so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from indexer.attributes import Phrase, Words, WordTerm
from indexer.errors import InvalidQueryError
from indexer.protocols import Snapshot
from indexer.types import Count, ImageRow
from indexer.where import Band, Ids, Not, Where
from indexer.words import WordQuery, parse, spans, texts_of
from rerank.types import Highlight, Part, SearchMode, Sought, TextPart

FULL_MATCH = 10.0  # what a value of 1 counts, in standard deviations of the query's inner product
LARGEST_WEIGHT = 1e3
MOST_WORDS = 64  # of a query: the first
MOST_FORMS = 50
MOST_COMMON, FEW_MATCHES = 0.1, 10_000  # a word that more pictures hold tells little, and costs much
SHORTEST_PART, SHORTEST_BESIDE = 3, 5  # letters of a word that may be a part or a slip; beside vectors
"""Short words are parts of many others: a taxi, which vectors know, is no tapir."""
GUESS = 0.3  # what a part or a slip counts of its word: beside vectors it may tip a balance, no more
LONGEST_EXCERPT = 160  # characters

# Of the languages that captions are mostly in; a text that consists of them is looked for as it is.
_STOP_WORDS = """
a an and are as at be by for from has he her his in is it its of on or she that the their them they this
to was were what when which who will with am auf aus bei das dem den der des die ein eine einem einen
einer eines fur ist mit nach oder sich und unter von vor zu zum au aux avec ce ces dans de du
elle en est et il la le les leur par pas pour que qui sur un une al con del el es las lo los para por se
su una y da di e gli i nel nella o per uno della dei delle das do dos em na nas no nos os um uma aan dat
een het op te van voor
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Wording:
    """What a query says in words. `required` holds its phrases, and what must not be there. `scale` is what a
    full match adds to a score. `sought` says for each word how it is looked for.
    """

    words: Words | None = None
    scale: float = 0.0
    required: tuple[Where, ...] = ()
    sought: tuple[Sought, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fixed(self) -> "Fixed | None":
        """What following pages go on with."""
        return None if self.words is None else (self.scale, self.words.terms)

    @property
    def each(self) -> tuple[Words, ...]:
        """An attribute for each word of the query; none where a word is not looked for as it was typed."""
        typed = self.words is not None and all(word.how in ("equal", "prefix") for word in self.sought)
        if not typed or not all(word.pictures for word in self.sought):
            return ()
        return tuple(Words((term,)) for term in self.words.terms) if self.words is not None else ()

    @property
    def matched(self) -> Where:
        """Pictures with at least one of the words."""
        return Ids(()) if self.words is None else Band(self.words, 0.0, None)

    def highlights(self, image: ImageRow) -> tuple[Highlight, ...]:
        """Where a picture's words match: excerpts, in the order of its texts."""
        if self.words is None:
            return ()
        tokens = [token for term in self.words.terms for token in term.forms]
        found = (
            (field, text, spans(text, tokens))
            for field, text in texts_of(image.uri, image.taken_at, image.metadata)
        )
        shown = {text: _excerpt(field, text, where) for field, text, where in found if where}
        return tuple(highlight for highlight in shown.values() if highlight.spans)


Fixed = tuple[float, tuple[WordTerm, ...]]
NOTHING = Wording()


def spoken(parts: Sequence[Part], mode: SearchMode) -> tuple[tuple[Part, ...], WordQuery | None]:
    """`parts` as an encoder should read them, without quotation marks and what must not be there; and what
    the texts that are wished for ask for in words.

    Raises:
        InvalidQueryError: Words alone are asked for, and there are none, or something else.
    """
    if mode == "vectors":
        return tuple(parts), None
    wished = [part for part in parts if isinstance(part, TextPart) and part.weight > 0]
    asked = {part: parse(part.text) for part in wished}
    if mode == "words":
        if len(wished) < len(parts):
            raise InvalidQueryError(
                "mode 'words' looks for words alone: leave out pictures, ids, vectors and negative weights"
            )
        if not any(query.words for query in asked.values()):
            raise InvalidQueryError("mode 'words' needs a word to look for")
        return (), _joined(asked.values())
    kept: list[Part] = []
    for part in parts:
        query = asked.get(part) if isinstance(part, TextPart) else None
        if query is None or not (query.phrases or query.without):
            kept.append(part)
        elif query.text:
            kept.append(TextPart(query.text, part.weight))
    return tuple(kept), _joined(asked.values()) if asked else None


def wording(
    query: WordQuery | None,
    snapshot: Snapshot,
    weight: float,
    unit: float,
    fixed: Fixed | None,
    *,
    mode: SearchMode,
    typing: bool,
) -> Wording:
    """Look a query's words up in a snapshot.

    Args:
        query: As `spoken` gives it.
        snapshot: Whose pictures hold the words.
        weight: 1 makes a value of 1 count FULL_MATCH times `unit`; 0 leaves words out.
        unit: The standard deviation of the query's inner product.
        fixed: What the first page found.
        mode: Beside vectors, words that very many pictures hold are left out: all of those would be scored.
        typing: The last word may not be at its end yet.
    """
    if not 0 <= weight <= LARGEST_WEIGHT or (weight == 0 and mode == "words"):
        least = "more than 0" if mode == "words" else "0"
        raise InvalidQueryError(f"words_weight is {weight:g}: expected {least} to {LARGEST_WEIGHT:g}")
    if query is None:
        return NOTHING
    required: tuple[Where, ...] = (
        *(Band(Phrase(phrase), 0.0, None) for phrase in query.phrases),
        *(Not(Band(Phrase(phrase), 0.0, None)) for phrase in query.without),
    )
    if fixed is not None:
        return Wording(Words(fixed[1]), fixed[0], required)
    if weight == 0:
        return Wording(required=required)
    telling = [word for word in query.words if word not in STOP_WORDS] or list(query.words)
    last = query.last if typing else None
    shortest = SHORTEST_PART if mode == "words" else SHORTEST_BESIDE
    sought = [_sought(word, snapshot, shortest, typing=word == last) for word in telling[:MOST_WORDS]]
    if mode == "hybrid":
        common = max(FEW_MATCHES, MOST_COMMON * snapshot.images)
        sought = [replace(word, how="common") if word.pictures > common else word for word in sought]
    left_out = len(telling) - MOST_WORDS
    warned = (f"only the first {MOST_WORDS} words are looked up: {left_out} are left out",) * (left_out > 0)
    counted = [word for word in sought if word.how != "common"]
    if not any(word.pictures for word in counted):
        return Wording(required=required, sought=tuple(sought), warnings=warned)
    terms = tuple(_term(word, snapshot.images) for word in counted)
    return Wording(Words(terms), weight * FULL_MATCH * unit, required, tuple(sought), warned)


def _joined(queries: Iterable[WordQuery]) -> WordQuery:
    several = list(queries)
    return WordQuery(
        tuple(dict.fromkeys(word for query in several for word in query.words)),
        tuple(dict.fromkeys(phrase for query in several for phrase in query.phrases)),
        tuple(dict.fromkeys(phrase for query in several for phrase in query.without)),
        " ".join(query.text for query in several),
        several[-1].last,
    )


def _sought(word: str, snapshot: Snapshot, shortest: int, *, typing: bool) -> Sought:
    """The first way of looking for a word that finds a picture."""
    ways: list[Literal["equal", "prefix", "part", "spelling"]] = ["prefix" if typing else "equal"]
    if len(word) >= shortest or not word.isascii():
        ways.append("part")
    if len(word) >= shortest and not any(letter.isdigit() for letter in word):
        ways.append("spelling")
    for how in ways:
        found = snapshot.tokens(word, how, most=MOST_FORMS)
        if found:
            return Sought(word, how, tuple(str(count.value) for count in found), _total(found, snapshot))
    return Sought(word, "equal", (), 0)


def _total(found: Sequence[Count], snapshot: Snapshot) -> int:
    """Pictures with one of several tokens: at most so many."""
    return min(snapshot.images, sum(count.count for count in found))


def _term(sought: Sought, images: int) -> WordTerm:
    """With the inverse document frequency of Lucene's BM25, which is positive for every word."""
    idf = math.log1p((images - sought.pictures + 0.5) / (sought.pictures + 0.5))
    is_guess = sought.how in ("part", "spelling") and sought.word.isascii()
    return WordTerm(sought.forms, idf, GUESS if is_guess else 1.0)


def _excerpt(field: str, text: str, where: list[tuple[int, int]]) -> Highlight:
    """Of a long text, what stands around the first match."""
    if len(text) <= LONGEST_EXCERPT:
        return Highlight(field, text, tuple(where))
    start = max(0, where[0][0] - LONGEST_EXCERPT // 4)
    inside = tuple((a - start, b - start) for a, b in where if b - start <= LONGEST_EXCERPT)
    return Highlight(field, text[start : start + LONGEST_EXCERPT], inside)
