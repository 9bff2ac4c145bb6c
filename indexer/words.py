"""The words that are written about a picture, folded so that a query finds them however it is typed.

A text becomes tokens: runs of letters and digits, without case and accents. Scripts that are written without
spaces (Chinese, Japanese, Korean, Thai, …) become pairs of neighbouring characters, so that a part of a run
is found too (as Lucene's CJKBigramFilter does). A symbol such as an emoji is a token of its own.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

from indexer.types import JSONValue, Metadata

LONGEST_TOKEN = 64  # characters; a longer run is no word
MOST_TOKENS = 4096  # of one field of a picture
BREAK = "·"  # no token: phrases end at the end of a text
FOLDERS = 3  # that lead to a file, whose names are words too

WEIGHTS: Mapping[str, float] = {
    "title": 3.0,
    "tags": 3.0,
    "caption": 2.0,
    "place": 2.0,
    "name": 2.0,
    "camera": 1.0,
    "date": 1.0,
    "ocr": 1.0,
    "other": 1.0,
}
"""How much an occurrence counts in each field (BM25F, Robertson, Zaragoza and Taylor 2004)."""

FIELD_OF: Mapping[str, str] = {
    **dict.fromkeys(("title", "headline", "label", "object_name"), "title"),
    **dict.fromkeys(("tags", "keywords", "subjects", "people", "categories", "albums", "class"), "tags"),
    **dict.fromkeys(
        ("caption", "captions", "description", "alt", "alt_text", "comment", "prompt", "text"), "caption"
    ),
    **dict.fromkeys(("place", "location", "city", "state", "region", "country"), "place"),
    **dict.fromkeys(("camera", "lens", "make", "model"), "camera"),
    "name": "name",
    "ocr": "ocr",
}
SILENT = frozenset(
    {
        "negative_prompt",
        "dhash",
        "phash",
        "sha256",
        "md5",
        "key",
        "status",
        "error_message",
        "url",
        "taken_at",
    }
)
"""Keys whose text says nothing of the picture, or the opposite."""

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
SYMBOLS = "\u2190-\u2bff\U0001f000-\U0001faff"
RUN = re.compile(rf"([{UNSPACED}]+)|([{SYMBOLS}])|[^\W_{UNSPACED}]+")
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
SEASONS = ("winter", "spring", "summer", "autumn")  # from December, March, …, north of the equator


def fold(text: str) -> str:
    """Without case, accents and compatibility forms: what differs only in those is equal."""
    if text.isascii():
        return text.lower()
    # Twice: capitals of a compatibility form show only when they are taken apart.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c)))


def tokens(text: str) -> list[str]:
    """The tokens of a text in their order; at most MOST_TOKENS, each at most LONGEST_TOKEN long."""
    found: list[str] = []
    for run in RUN.finditer(fold(text)):
        if len(found) >= MOST_TOKENS:
            break
        unspaced, whole = run[1], run[0]
        if unspaced is not None and len(unspaced) > 1:
            found.extend(unspaced[at : at + 2] for at in range(len(unspaced) - 1))
        else:
            found.append(whole[:LONGEST_TOKEN])
    return found[:MOST_TOKENS]


def words_of(uri: str, taken_at: float | None, metadata: Metadata) -> dict[str, list[str]]:
    """The tokens of a picture by the fields of WEIGHTS that it has, with a BREAK between two texts.

    `taken_at` is in seconds since 1970 and gives the year, the month and the season. Of `uri`, the name of
    the file and those of the FOLDERS above it count.
    """
    words: dict[str, list[str]] = {}
    seen = set[
        tuple[str, ...]
    ]()  # a caption that is stored twice, or in English of two countries, counts once
    for field, text in texts_of(uri, taken_at, metadata):
        found = tokens(text)
        if found and (field, *found) not in seen:
            seen.add((field, *found))
            have = words.setdefault(field, [])
            have += [BREAK, *found] if have else found
    return {field: own[:MOST_TOKENS] for field, own in words.items()}


def texts_of(uri: str, taken_at: float | None, metadata: Metadata) -> Iterator[tuple[str, str]]:
    """(field, text) of everything in which a picture can be found by words."""
    yield "name", _path_of(uri)
    if taken_at is not None:
        for text in _date_words(taken_at, metadata):
            yield "date", text
    yield from _texts(metadata, "other")


def _texts(value: JSONValue | Metadata, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, field)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            name = key.lower()
            if name not in SILENT:
                yield from _texts(item, FIELD_OF.get(name, field))


def _path_of(uri: str) -> str:
    """The last parts of a path or an address; nothing for an upload, whose name is a hash."""
    if uri.startswith("upload:"):
        return ""
    path = unquote(urlsplit(uri).path) if "://" in uri[:12] else uri
    *folders, name = re.split(r"[/\\#]", path)
    return "/".join([*folders[-FOLDERS:], name.rpartition(".")[0] or name])


def _date_words(seconds: float, metadata: Metadata) -> tuple[str, ...]:
    try:
        date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return ()
    latitude = metadata.get("latitude")
    is_south = isinstance(latitude, int | float) and latitude < 0
    season = SEASONS[(date.month % 12 // 3 + 2 * is_south) % 4]
    return f"{MONTHS[date.month - 1]} {date.year}", f"{season} {date.year}"


@dataclass(frozen=True, slots=True)
class WordQuery:
    """What a typed text asks for. `words` are looked for one by one and counted; each of `phrases` has to
    stand in a picture's words as it is; none of `without` may. `text` is what an encoder should read.
    `last` is the word that the text ends with, which may go on while it is being typed.
    """

    words: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    without: tuple[tuple[str, ...], ...]
    text: str
    last: str | None = None


TYPESET = str.maketrans(dict.fromkeys("“”„‟«»〝〞＂", '"') | dict.fromkeys("‐‑‒–−－", "-"))
PIECE = re.compile(r'(?:(?<=\s)|^)(-)?(?:"([^"]*)"|(?<=-)(\S+))|"([^"]*)"')


def parse(text: str) -> WordQuery:
    """`red car "old town" -truck -"sports car"`: words, a phrase, and what must not be there.

    A hyphen counts only before a word: "black-and-white" is three words. Quotation marks and dashes may be
    those of a typesetter.
    """
    text = text.translate(TYPESET)
    phrases: list[tuple[str, ...]] = []
    without: list[tuple[str, ...]] = []
    kept: list[str] = []
    at = 0
    for piece in PIECE.finditer(text):
        minus, quoted, bare, inner = piece.groups()
        kept.append(text[at : piece.start()])
        at = piece.end()
        said = next(part for part in (quoted, bare, inner) if part is not None)
        own = tuple(tokens(said))
        if minus and own:
            without.append(own)
        elif not minus:
            kept.append(said)
            if own:
                phrases.append(own)
    kept.append(text[at:])
    ends_in_word = text[at:].strip() and not text[-1:].isspace()
    rest = " ".join(" ".join(kept).split())
    words = tuple(dict.fromkeys(tokens(rest)))
    last = tokens(rest)[-1] if ends_in_word and words else None
    return WordQuery(words, tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(without)), rest, last)


def spans(text: str, wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Where runs of `text` hold one of the `wanted` tokens: [start, end) of its characters, rising."""
    words = frozenset(wanted)
    found: list[tuple[int, int]] = []
    for run in WORD.finditer(text):
        own = tokens(run[0])
        if len(own) == 1 and own[0] in words:
            found.append(run.span())
            continue
        for pair in own:  # of an unspaced script, whose characters are folded one by one
            at = fold(run[0]).find(pair) if pair in words else -1
            if at >= 0:
                found.append((run.start() + at, min(run.end(), run.start() + at + len(pair))))
    return sorted(set(found))


WORD = re.compile(rf"[{UNSPACED}]+|[{SYMBOLS}]|(?:[^\W_{UNSPACED}]|[\u0300-\u036f])+")
