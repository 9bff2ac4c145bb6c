"""`kallos search` and `kallos rank`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar, get_args

import typer

from indexer.errors import InvalidInputError, InvalidQueryError
from indexer.filters.language import Filter, parse_filter
from indexer.types import ImageId
from rerank.rephrase.types import Mode
from rerank.types import (
    Deduplicate,
    Diversify,
    IdPart,
    ImagePart,
    Part,
    RankQuery,
    Rerank,
    SearchQuery,
    TextPart,
)
from service.cli.options import Collection, DataDir, Json, Limit, Sheet, settings_from
from service.cli.output import print_answer, write_sheet
from service.wiring import open_services

Choice = TypeVar("Choice")
Words = Annotated[str | None, typer.Argument(help='What to look for, such as "red bicycle".')]
Images = Annotated[
    list[Path] | None, typer.Option("--image", help="A picture to look like; may be repeated.")
]
Likes = Annotated[list[int] | None, typer.Option("--like", help="Id of a stored picture; may be repeated.")]
Unlikes = Annotated[list[str] | None, typer.Option("--not", help="Words to move away from; may be repeated.")]
Filters = Annotated[
    str | None,
    typer.Option("--filter", help='JSON, such as \'{"range": {"taken_at": {"gte": "2020-01-01"}}}\'.'),
]
Percentiles = Annotated[
    list[str] | None,
    typer.Option("--percentile", help="NAME=FROM:TO, such as aesthetics=90:100 for the top tenth."),
]
Cursor = Annotated[str | None, typer.Option("--cursor", help="From the answer before: the next page.")]


def search(
    words: Words = None,
    image: Images = None,
    like: Likes = None,
    unlike: Unlikes = None,
    axis: Annotated[
        list[str] | None, typer.Option("--axis", help="NAME=WEIGHT, such as aesthetics=1.5; may be repeated.")
    ] = None,
    condition: Filters = None,
    percentile: Percentiles = None,
    rephrase: Annotated[
        str | None,
        typer.Option(
            "--rephrase",
            help="auto, repeat, detail, k_list, keyword_dict, reorganise; needs KALLOS_LLM_MODEL.",
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", help="Sort the pool by NAME, or by its score and NAME=WEIGHT."),
    ] = None,
    diverse: Annotated[
        str | None, typer.Option("--diverse", help="mmr or vendi: different pictures first.")
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates/--no-duplicates", help="Show near-duplicates too.")
    ] = True,
    pool: Annotated[
        int, typer.Option("--pool", min=10, max=500, help="Best hits that those three see.")
    ] = 100,
    exact: Annotated[bool, typer.Option("--exact", help="Score every picture, whatever it takes.")] = False,
    limit: Limit = 10,
    cursor: Cursor = None,
    sheet: Sheet = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Find pictures by words, by example, by taste, or by all of them together."""
    query = SearchQuery(
        parts=_parts(words, image, like, unlike),
        axes=dict(_weight(text) for text in axis or []),
        filter=_filter(condition),
        percentiles=_bands(percentile),
        rephrase=None if rephrase is None else _one_of("--rephrase", rephrase, get_args(Mode)),
        rerank=None if rerank is None else _rerank(rerank),
        diversify=None if diverse is None else Diversify(_one_of("--diverse", diverse, ("mmr", "vendi"))),
        deduplicate=None if duplicates else Deduplicate(),
        pool=pool,
        recall=1.0 if exact else 0.95,
        limit=limit,
        cursor=cursor,
    )
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=False)
    try:
        answer = services.engine.search(query)
        print_answer(answer, as_json=as_json)
        if sheet is not None:
            write_sheet(answer, services, sheet)
    finally:
        services.close()


def rank(
    words: Words = None,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", help="NAME or NAME=WEIGHT; may be repeated. Without one: aesthetics."),
    ] = None,
    image: Images = None,
    like: Likes = None,
    unlike: Unlikes = None,
    condition: Filters = None,
    percentile: Percentiles = None,
    order: Annotated[
        str, typer.Option("--order", help="desc: most of the attribute first. asc: least.")
    ] = "desc",
    candidates: Annotated[
        int,
        typer.Option(
            "--candidates", min=1, max=10_000, help="Of a query, this many best matches are sorted."
        ),
    ] = 200,
    limit: Limit = 10,
    cursor: Cursor = None,
    sheet: Sheet = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Sort the collection, or the matches of a query, by an axis or a mixture of them."""
    query = RankQuery(
        axes=dict(_weight(text) for text in axis or ["aesthetics"]),
        parts=_parts(words, image, like, unlike),
        filter=_filter(condition),
        percentiles=_bands(percentile),
        order=_one_of("--order", order, ("desc", "asc")),
        candidates=candidates,
        limit=limit,
        cursor=cursor,
    )
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=False)
    try:
        answer = services.engine.rank(query)
        print_answer(answer, as_json=as_json)
        if sheet is not None:
            write_sheet(answer, services, sheet)
    finally:
        services.close()


def _parts(
    words: str | None, images: list[Path] | None, like: list[int] | None, unlike: list[str] | None
) -> tuple[Part, ...]:
    parts: list[Part] = [] if words is None else [TextPart(words)]
    parts += [ImagePart(_read(path)) for path in images or []]
    parts += [IdPart(ImageId(number)) for number in like or []]
    parts += [TextPart(text, -0.5) for text in unlike or []]  # at full weight it would drown the wish
    return tuple(parts)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read the picture {str(path)!r}: {error.strerror}") from error


def _weight(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight) if weight else 1.0
    except ValueError as error:
        raise InvalidQueryError(f"--axis {text!r}: expected NAME=WEIGHT, such as aesthetics=1.5") from error


def _bands(texts: list[str] | None) -> dict[str, tuple[float, float]]:
    bands = {}
    for text in texts or []:
        name, _, band = text.partition("=")
        low, _, high = band.partition(":")
        try:
            bands[name] = (float(low), float(high))
        except ValueError as error:
            raise InvalidQueryError(f"--percentile {text!r}: expected NAME=FROM:TO") from error
    return bands


def _filter(text: str | None) -> Filter | None:
    if text is None:
        return None
    try:
        return parse_filter(json.loads(text))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"--filter is not JSON: {error}") from error


def _rerank(text: str) -> Rerank:
    name, weight = _weight(text)
    return Rerank(name, weight if "=" in text else None)


def _one_of(option: str, text: str, choices: Sequence[Choice]) -> Choice:
    for choice in choices:
        if text == choice:
            return choice
    raise InvalidInputError(f"{option} {text!r}: expected one of {', '.join(map(str, choices))}")
