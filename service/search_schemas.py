"""The wire of /search and /rank: bodies, and their conversion to and from what the engine speaks."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from fastapi import Response
from jaxtyping import Float32
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from indexer.errors import InvalidInputError, InvalidQueryError
from indexer.filters.language import field_name, parse_filter
from indexer.types import ImageId
from rerank.diversity import COPY_BITS, COPY_COSINE
from rerank.match.model import DEFAULT_THRESHOLD, Basis, Match
from rerank.rephrase.types import Mode, Outcome, Rewrite, Variant
from rerank.types import (
    Answer,
    Deduplicate,
    Diversify,
    Hit,
    IdPart,
    ImagePart,
    Part,
    RankQuery,
    Rerank,
    SearchQuery,
    TextPart,
    VectorPart,
)
from service.generate_schemas import GenerationBody
from service.generation.on_miss import FallbackGeneration
from service.schemas import AnyImageId, Body, FieldName, Limit, Name, Number, from_base64, metadata_of

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
    tenth. `rephrase` has a language model say the query in more words, and searches for both. `rerank`,
    `deduplicate` and `diversify` work on the best `pool` hits as a set. `min_score` leaves out hits below
    it, `group_by` keeps the best hit of each value of a field, and `facets` counts the values of fields
    over everything that passes the filter, whatever the query. `generate_if_no_match` has a picture made
    when the probability of a match is below `match_threshold`.
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
            order=self.order,
            candidates=self.candidates,
            limit=self.limit,
            cursor=self.cursor,
        )


class HitBody(BaseModel):
    id: int
    uri: str
    score: float | None
    contributions: dict[str, float]
    found_by: list[str]
    duplicates: int
    metadata: dict[str, Any]

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(
            id=hit.image.id,
            uri=hit.image.uri,
            score=hit.score,
            contributions=dict(hit.contributions),
            found_by=list(hit.found_by),
            duplicates=hit.duplicates,
            metadata=metadata_of(hit.image),
        )


class Candidates(BaseModel):
    """`exact`: all `n` eligible pictures were scored. `top_k`: only the `n` best of a first stage were."""

    mode: Literal["exact", "top_k"]
    n: int


class CountBody(BaseModel):
    value: str | bool | float
    count: int


class IndexFacts(BaseModel):
    """The state of the collection that an answer shows: `version` grows with every change."""

    version: int
    generation: int = Field(description="version, by its old name", json_schema_extra={"deprecated": True})
    images: int


class RewriteBody(BaseModel):
    """What became of the request to rephrase; `text` is null unless it was searched for too."""

    asked: Mode
    variant: Variant
    outcome: Outcome
    text: str | None
    reason: str
    ms: float
    similarity: float | None

    @classmethod
    def of(cls, rewrite: Rewrite) -> Self:
        return cls(
            asked=rewrite.asked,
            variant=rewrite.variant,
            outcome=rewrite.outcome,
            text=rewrite.text,
            reason=rewrite.reason,
            ms=round(rewrite.milliseconds, 3),
            similarity=rewrite.similarity,
        )


class MatchBody(BaseModel):
    """Behind `match_probability`, which is that of a fitting picture among the first ten hits for the words.

    `held`: that the collection holds one, found or not. `basis`: what taught it, `captions` or the
    `background`. `reason`: why there is no probability. `threshold`: below it perhaps nothing fits.
    """

    held: float | None
    basis: Basis | None
    reason: str | None
    threshold: float

    @classmethod
    def of(cls, match: Match | str, threshold: float) -> Self:
        if isinstance(match, str):
            return cls(held=None, basis=None, reason=match, threshold=threshold)
        return cls(held=match.held, basis=match.basis, reason=None, threshold=threshold)


class JobRef(BaseModel):
    id: str


class MissBody(BaseModel):
    """What is made because nothing fits. `kept`: `generation` was made before. `running`, `started`: a job
    makes it. `refused`: nothing is made; `code` and `reason` say why.
    """

    outcome: Literal["kept", "running", "started", "refused"]
    generation: GenerationBody | None
    code: str | None
    reason: str | None

    @classmethod
    def of(cls, miss: FallbackGeneration) -> Self:
        made = None if miss.generation is None else GenerationBody.of(miss.generation)
        return cls(outcome=miss.outcome, generation=made, code=miss.code, reason=miss.reason)


class SearchAnswer(BaseModel):
    """Hits, best first, and how they were found.

    `rewritten`: the order rests on a rephrased query too. `rewrite` says on the first page what became of it.
    `miss` and `job`: what is made because nothing fits, where that was asked for.
    """

    hits: list[HitBody]
    cursor: str | None
    candidates: Candidates
    index: IndexFacts
    model: str
    rewritten: bool
    match_probability: float | None
    match: MatchBody
    rewrite: RewriteBody | None
    vendi: float | None
    facets: dict[str, list[CountBody]]
    miss: MissBody | None
    job: JobRef | None
    warnings: list[str]
    timings_ms: dict[str, float]

    @classmethod
    def of(
        cls,
        answer: Answer,
        miss: FallbackGeneration | None = None,
        *,
        match_threshold: float = DEFAULT_THRESHOLD,
    ) -> Self:
        return cls(
            hits=[HitBody.of(hit) for hit in answer.hits],
            cursor=answer.cursor,
            candidates=Candidates(mode=answer.mode, n=answer.candidates),
            index=IndexFacts(
                version=answer.version.number, generation=answer.version.number, images=answer.images
            ),
            model=answer.model_id,
            rewritten=answer.rewritten,
            rewrite=None if answer.rewrite is None else RewriteBody.of(answer.rewrite),
            match_probability=answer.match.probability if isinstance(answer.match, Match) else None,
            match=MatchBody.of(answer.match, match_threshold),
            vendi=answer.vendi,
            facets={
                name: [CountBody(value=one.value, count=one.count) for one in counts]
                for name, counts in answer.facets.items()
            },
            miss=None if miss is None else MissBody.of(miss),
            job=None if miss is None or miss.job is None else JobRef(id=miss.job.id),
            warnings=list(answer.warnings),
            timings_ms={stage: round(ms, 3) for stage, ms in answer.timings_ms.items()},
        )

    def to_response(self) -> Response:
        """Serialised here, in the thread that searched: FastAPI would validate it again, in another."""
        return Response(self.model_dump_json(), media_type="application/json")


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
        return np.array(given, np.float32)
    data = from_base64(given, "vector")
    if len(data) % 4:
        raise InvalidInputError(f"the vector is base64 of {len(data)} bytes: expected 4 for each number")
    return np.frombuffer(data, "<f4").astype(np.float32)
