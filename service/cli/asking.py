"""The words of a command → a query; its answer → a terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from indexer.errors import InvalidInputError, InvalidQueryError
from indexer.filters.language import Filter, parse_filter
from indexer.types import ImageId
from rerank.types import IdPart, ImagePart, Part, RankQuery, Rerank, SearchQuery, TextPart
from service.cli.output import print_answer, write_sheet
from service.settings import Settings
from service.wiring import open_search

Choice = TypeVar("Choice")


def answer(query: SearchQuery | RankQuery, settings: Settings, *, as_json: bool, sheet: Path | None) -> None:
    """Ask and print; with `sheet`, write the hits there as one picture too."""
    rephrases = isinstance(query, SearchQuery) and query.rephrase is not None
    with open_search(settings, rephrases=rephrases) as found:
        engine = found.engine
        got = engine.search(query) if isinstance(query, SearchQuery) else engine.rank(query)
        print_answer(got, as_json=as_json)
        if sheet is not None:
            write_sheet(got, found.pictures, sheet)


def parts_of(
    words: str | None, images: list[Path] | None, like: list[int] | None, unlike: list[str] | None
) -> tuple[Part, ...]:
    parts: list[Part] = [] if words is None else [TextPart(words)]
    parts += [ImagePart(_read(path)) for path in images or []]
    parts += [IdPart(ImageId(number)) for number in like or []]
    parts += [TextPart(text, -0.5) for text in unlike or []]  # at full weight it would outweigh the words
    return tuple(parts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read the picture {str(path)!r}: {error.strerror}") from error


def weight_of(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight) if weight else 1.0
    except ValueError as error:
        raise InvalidQueryError(f"--axis {text!r}: expected NAME=WEIGHT, such as aesthetics=1.5") from error


def bands_of(texts: list[str] | None) -> dict[str, tuple[float, float]]:
    bands = {}
    for text in texts or []:
        name, _, band = text.partition("=")
        low, _, high = band.partition(":")
        try:
            bands[name] = (float(low), float(high))
        except ValueError as error:
            raise InvalidQueryError(f"--percentile {text!r}: expected NAME=FROM:TO") from error
    return bands


def filter_of(text: str | None) -> Filter | None:
    if text is None:
        return None
    try:
        return parse_filter(json.loads(text))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"--filter is not JSON: {error}") from error


def rerank_of(text: str) -> Rerank:
    name, weight = weight_of(text)
    return Rerank(name, weight if "=" in text else None)


def one_of(option: str, text: str, choices: Sequence[Choice]) -> Choice:
    for choice in choices:
        if text == choice:
            return choice
    raise InvalidInputError(f"{option} {text!r}: expected one of {', '.join(map(str, choices))}")
