"""The wire of the requests to /search and /rank, and their conversion to what the engine speaks."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from indexer.errors import InvalidInputError, InvalidQueryError
from indexer.filters.language import field_name, parse_filter
from indexer.types import ImageId
from rerank.diversity import COPY_BITS, COPY_COSINE
from rerank.match.model import DEFAULT_THRESHOLD
from rerank.rephrase.types import Mode
from rerank.types import (
    Deduplicate,
    Diversify,
    IdPart,
    ImagePart,
    Part,
    RankQuery,
    Rerank,
    SearchMode,
    SearchQuery,
    TextPart,
    VectorPart,
)
from service.schemas import AnyImageId, Body, FieldName, Limit, Name, Number, from_base64

LONGEST_VECTOR = 16_384  # numbers
LONGEST_CURSOR = 2_000_000  # characters: it names the pictures shown whose score is that of the last one
EXAMPLE_PLACE: JsonDict = {"geo_radius": {"latitude": 59.91, "longitude": 10.75, "radius_m": 5000}}
EXAMPLE_FILTER: JsonDict = {"must": [{"range": {"taken_at": {"gte": "2020-01-01"}}}]}


class QueryPart(Body):
    """One of `text`, `image` (base64 of a picture file), `id` or `vector`.

    A vector is a list of numbers, or base64 of little-endian float32: half as long, and quicker to read.
    A negative weight means less like it.
    """

    text: Annotated[str, Field(max_length=10_000)] | None = None
    image: str | None = None
    id: AnyImageId | None = None
    vector: (
        Annotated[list[Number], Field(min_length=1, max_length=LONGEST_VECTOR)]
        | Annotated[str, Field(min_length=1, max_length=6 * LONGEST_VECTOR)]
        | None
    ) = None
    weight: Number = 1.0

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = [name for name in ("text", "image", "id", "vector") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of text, image, id, vector; got {given or 'none'}")
        return self

    def to_part(self) -> Part:
        if self.text is not None:
            return TextPart(self.text, self.weight)
        if self.id is not None:
            return IdPart(ImageId(self.id), self.weight)
        if self.vector is not None:
            return VectorPart(_vector_of(self.vector), self.weight)
        return ImagePart(from_base64(self.image or ""), self.weight)


Weights = Annotated[dict[Name, Number], Field(default_factory=dict, max_length=64)]
Bands = Annotated[
    dict[Name, tuple[Number, Number]],
    Field(default_factory=dict, max_length=16, examples=[{"aesthetics": [90, 100]}]),
]
Query = Annotated[str, Field(max_length=10_000)] | Annotated[list[QueryPart], Field(max_length=64)] | None


class RerankBody(Body):
    """Sort the pool by its score and `weight` times an axis; without a weight, by the axis alone."""

    axis: Name
    weight: Number | None = None


class DiversifyBody(Body):
    """`mmr`: `trade` 1 is the plain order, 0 only difference. `vendi`: good and different as a set.

    Pictures are compared by embedding, or by equality of metadata `fields` with weights.
    """

    method: Literal["mmr", "vendi"] = "mmr"
    trade: Annotated[float, Field(ge=0, le=1)] = 0.5
    fields: Annotated[
        dict[FieldName, Annotated[float, Field(gt=0, le=1000)]], Field(default_factory=dict, max_length=8)
    ]


class DeduplicateBody(Body):
    """Leave out what equals a better placed picture: by cosine, or in all but `bits` of a perceptual hash."""

    cosine: Annotated[float, Field(ge=0, le=1)] = COPY_COSINE
    bits: Annotated[int, Field(ge=0, le=32)] = COPY_BITS


class SearchRequest(Body):
    """What to look for, how to weigh it, what to leave out.

    `percentiles` keeps pictures between two percentiles of the collection on an axis: [90, 100] is the top
    tenth. `mode` says what texts are compared with: the vectors of the pictures and the words that are
    written about them (`hybrid`), or only one of them. In words, "a phrase" has to be there and -word must
    not. `words_weight` is that of words beside vectors; with `typing` the last word may go on. `rephrase` has
    a language model say the query in more words, and searches for both. `rerank`, `deduplicate` and
    `diversify` work on the best `pool` hits as a set. `min_score` leaves out hits below it, `group_by` keeps
    the best hit of each value of a field, and `facets` counts the values of fields over everything that
    passes the filter, whatever the query. `generate_if_no_match` has a picture made when the probability of a
    match is below `match_threshold`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "red bicycle", "axes": {"aesthetics": 1.5}, "limit": 10},
                {"query": [{"text": "a bird"}, {"id": 1, "weight": -0.3}], "filter": EXAMPLE_FILTER},
                {"query": "a boat", "filter": EXAMPLE_PLACE},
                {"query": "a bird", "diversify": {"method": "vendi"}, "deduplicate": True},
            ]
        }
    )

    query: Query = None
    filter: dict[str, Any] | None = None
    axes: Weights
    percentiles: Bands
    mode: SearchMode = "hybrid"
    words_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    typing: bool = False
    rephrase: Literal["off"] | Mode = "off"
    recall: Annotated[float, Field(gt=0, le=1)] | Literal["exact"] = 0.95
    min_score: Number | None = None
    group_by: FieldName | None = None
    rerank: RerankBody | None = None
    deduplicate: bool | DeduplicateBody = False
    diversify: DiversifyBody | None = None
    pool: Annotated[int, Field(ge=10, le=500)] = 100
    facets: Annotated[list[FieldName], Field(default_factory=list, max_length=16)]
    generate_if_no_match: bool = False
    match_threshold: Annotated[float, Field(ge=0, le=1)] = DEFAULT_THRESHOLD
    limit: Limit = 10
    cursor: Annotated[str, Field(max_length=LONGEST_CURSOR)] | None = None

    def to_query(self) -> SearchQuery:
        return SearchQuery(
            parts=_parts(self.query),
            axes=self.axes,
            filter=None if self.filter is None else parse_filter(self.filter),
            percentiles=self.percentiles,
            mode=self.mode,
            words_weight=self.words_weight,
            typing=self.typing,
            rephrase=None if self.rephrase == "off" else self.rephrase,
            recall=1.0 if self.recall == "exact" else self.recall,
            min_score=self.min_score,
            group_by=None if self.group_by is None else field_name(self.group_by),
            rerank=None if self.rerank is None else Rerank(self.rerank.axis, self.rerank.weight),
            deduplicate=_deduplicate(self.deduplicate),
            diversify=None if self.diversify is None else _diversify(self.diversify),
            pool=self.pool,
            facets=tuple(field_name(name) for name in self.facets),
            limit=self.limit,
            cursor=self.cursor,
        )


class RankRequest(Body):
    """Which pictures to order: all, those of a filter or of `percentiles`, given ids, or a query's best
    `candidates` matches. `axes` adds weighted axes to the one in the address, which weighs 1.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"limit": 10},
                {"query": "a bird", "order": "asc"},
                {"axes": {"recency": 0.5}, "percentiles": {"aesthetics": [90, 100]}},
            ]
        }
    )

    query: Query = None
    axes: Weights
    filter: dict[str, Any] | None = None
    percentiles: Bands
    ids: Annotated[list[AnyImageId], Field(max_length=100_000)] | None = None
    mode: SearchMode = "hybrid"
    words_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    order: Literal["desc", "asc"] = "desc"
    candidates: Annotated[int, Field(ge=1, le=10_000)] = 200
    limit: Limit = 10
    cursor: Annotated[str, Field(max_length=LONGEST_CURSOR)] | None = None

    def to_query(self, axis: str | None) -> RankQuery:
        return RankQuery(
            axes=({} if axis is None else {axis: 1.0}) | self.axes,
            parts=_parts(self.query),
            filter=None if self.filter is None else parse_filter(self.filter),
            percentiles=self.percentiles,
            ids=None if self.ids is None else tuple(ImageId(i) for i in self.ids),
            mode=self.mode,
            words_weight=self.words_weight,
            order=self.order,
            candidates=self.candidates,
            limit=self.limit,
            cursor=self.cursor,
        )


def _deduplicate(given: bool | DeduplicateBody) -> Deduplicate | None:
    if isinstance(given, DeduplicateBody):
        return Deduplicate(given.cosine, given.bits)
    return Deduplicate() if given else None


def _diversify(given: DiversifyBody) -> Diversify:
    return Diversify(given.method, given.trade, {field_name(name): w for name, w in given.fields.items()})


def _parts(query: Query) -> tuple[Part, ...]:
    if query is None:
        return ()
    if isinstance(query, str):
        return (TextPart(query),)
    if not query:
        raise InvalidQueryError("the query is an empty list: give it a part, or leave it out")
    return tuple(part.to_part() for part in query)


def _vector_of(given: list[float] | str) -> Float32[ndarray, " d"]:
    if isinstance(given, list):
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return np.array(given, np.float32)
    data = from_base64(given, "vector")
    if len(data) % 4:
        raise InvalidInputError(f"the vector is base64 of {len(data)} bytes: expected 4 for each number")
    return np.frombuffer(data, "<f4").astype(np.float32)
