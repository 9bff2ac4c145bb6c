"""`kallos search` and `kallos rank`."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from service.cli.options import Collection, DataDir, Json, Limit, Sheet, settings_from

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
TextMode = Annotated[
    str,
    typer.Option(
        "--mode",
        help="hybrid: words find by vectors and by captions, names, tags; vectors, words: by one.",
    ),
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
    mode: TextMode = "hybrid",
    exact: Annotated[bool, typer.Option("--exact", help="Score every picture, whatever it takes.")] = False,
    limit: Limit = 10,
    cursor: Cursor = None,
    sheet: Sheet = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Find pictures by words, by example, by taste, or by all of them together."""
    from rerank.rephrase.types import Mode
    from rerank.types import Deduplicate, Diversify, SearchMode, SearchQuery
    from service.cli import asking

    query = SearchQuery(
        parts=asking.parts_of(words, image, like, unlike),
        axes=dict(asking.weight_of(text) for text in axis or []),
        filter=asking.filter_of(condition),
        percentiles=asking.bands_of(percentile),
        mode=asking.one_of("--mode", mode, get_args(SearchMode)),
        rephrase=None if rephrase is None else asking.one_of("--rephrase", rephrase, get_args(Mode)),
        rerank=None if rerank is None else asking.rerank_of(rerank),
        diversify=None
        if diverse is None
        else Diversify(asking.one_of("--diverse", diverse, ("mmr", "vendi"))),
        deduplicate=None if duplicates else Deduplicate(),
        pool=pool,
        recall=1.0 if exact else 0.95,
        limit=limit,
        cursor=cursor,
    )
    settings = settings_from(data_dir=data_dir, collection=collection)
    asking.answer(query, settings, as_json=as_json, sheet=sheet)


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
    mode: TextMode = "hybrid",
    limit: Limit = 10,
    cursor: Cursor = None,
    sheet: Sheet = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Sort the collection, or the matches of a query, by an axis or a mixture of them."""
    from rerank.types import RankQuery, SearchMode
    from service.cli import asking

    query = RankQuery(
        axes=dict(asking.weight_of(text) for text in axis or ["aesthetics"]),
        parts=asking.parts_of(words, image, like, unlike),
        filter=asking.filter_of(condition),
        percentiles=asking.bands_of(percentile),
        mode=asking.one_of("--mode", mode, get_args(SearchMode)),
        order=asking.one_of("--order", order, ("desc", "asc")),
        candidates=candidates,
        limit=limit,
        cursor=cursor,
    )
    settings = settings_from(data_dir=data_dir, collection=collection)
    asking.answer(query, settings, as_json=as_json, sheet=sheet)
