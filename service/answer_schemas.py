"""The wire of the answers to /search and /rank."""

from typing import Any, Literal, Self

from fastapi import Response
from pydantic import BaseModel, Field

from rerank.match.model import DEFAULT_THRESHOLD, Basis, Match
from rerank.rephrase.types import Mode, Outcome, Rewrite, Variant
from rerank.types import Answer, Highlight, Hit, Sought
from service.generate_schemas import GenerationBody
from service.generation.on_miss import FallbackGeneration
from service.schemas import metadata_of


class HighlightBody(BaseModel):
    """Where the words of the query stand: [start, end) of the characters of `text`, which is one of the
    picture's texts, or a piece of a long one. `field` says which: title, tags, caption, place, name, ….
    """

    field: str
    text: str
    spans: list[tuple[int, int]]

    @classmethod
    def of(cls, highlight: Highlight) -> Self:
        return cls(field=highlight.field, text=highlight.text, spans=list(highlight.spans))


class SoughtBody(BaseModel):
    """How a word of the query was looked for: as the tokens `forms`, which `pictures` pictures hold.

    `equal`: as it is; `prefix`: as what begins with it. Where no picture holds it: as what contains it
    (`part`), or as what is spelled nearly alike (`spelling`). `common`: so many hold it that it is left to
    the vectors. No forms: there is nothing like it.
    """

    word: str
    how: Literal["equal", "prefix", "part", "spelling", "common"]
    forms: list[str]
    pictures: int

    @classmethod
    def of(cls, sought: Sought) -> Self:
        return cls(word=sought.word, how=sought.how, forms=list(sought.forms), pictures=sought.pictures)


class HitBody(BaseModel):
    id: int
    uri: str
    score: float | None
    contributions: dict[str, float]
    found_by: list[str]
    duplicates: int
    highlights: list[HighlightBody]
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
            highlights=[HighlightBody.of(highlight) for highlight in hit.highlights],
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

    `rewritten`: the order rests on a rephrased query too. `rewrite` says on the first page what became of it,
    and `words` how each word was looked for. `miss` and `job`: what is made because nothing fits, where that
    was asked for.
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
    words: list[SoughtBody]
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
            words=[SoughtBody.of(sought) for sought in answer.words],
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
