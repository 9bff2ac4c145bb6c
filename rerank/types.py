"""What people ask, and what they get back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float32
from numpy import ndarray

from indexer.filters.language import Filter
from indexer.protocols import Version
from indexer.types import Count, ImageId, ImageRow
from rerank.diversity import COPY_BITS, COPY_COSINE
from rerank.match.model import Match
from rerank.rephrase.types import Mode, Rewrite

WORDS_TERM = "words"  # the contribution of words that match
QUERY_TERM = "query"  # the name of the query's own contribution
REWRITE_TERM = "rewrite"  # and of what a language model made of it
CandidateMode = Literal["exact", "top_k"]
Order = Literal["desc", "asc"]
SearchMode = Literal["hybrid", "vectors", "words"]
"""What a text is compared with: both vectors and the words of the pictures, or one of them."""
Bands = Mapping[str, tuple[float, float]]
"""Of an axis, from and to which percentile of the collection: (90, 100) is the top tenth."""


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An encoded picture: the bytes of a JPEG, PNG, … file."""

    data: bytes
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class IdPart:
    """A stored picture. It is left out of the hits: a client that asks for more like it has it already."""

    id: ImageId
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class VectorPart:
    """An embedding made elsewhere with the same model; its length does not matter."""

    vector_D: Float32[ndarray, " d"]
    weight: float = 1.0


Part = TextPart | ImagePart | IdPart | VectorPart


@dataclass(frozen=True, slots=True)
class Rerank:
    """Sort the pool by its score and `weight` times an axis; without a weight, by the axis alone."""

    axis: str
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Diversify:
    """`mmr` trades score (1) against difference from what stands before (0). `vendi` chooses hits that are
    good and different as a set. Pictures are compared by embedding, or by equality of weighted `fields`.
    """

    method: Literal["mmr", "vendi"] = "mmr"
    trade: float = 0.5
    fields: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Leave out what equals a better placed picture by embedding or by perceptual hash."""

    cosine: float = COPY_COSINE
    bits: int = COPY_BITS


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Weighted parts, axis weights, a filter. At least one part or one axis."""

    parts: tuple[Part, ...] = ()
    axes: Mapping[str, float] = field(default_factory=dict)
    filter: Filter | None = None
    percentiles: Bands = field(default_factory=dict)
    mode: SearchMode = "hybrid"
    words_weight: float = 1.0  # of words that match, beside vectors
    typing: bool = False  # the last word of a text may go on
    recall: float = 0.95  # wanted share of the true best `limit`; 1.0 scans everything
    rephrase: Mode | None = None  # have the one text of the parts rephrased, and search for both
    min_score: float | None = None  # leave out hits that score less
    group_by: str | None = None  # one hit, the best, for each value of this field
    rerank: Rerank | None = None
    deduplicate: Deduplicate | None = None
    diversify: Diversify | None = None
    pool: int = 100  # hits that rerank, deduplicate and diversify see
    facets: tuple[str, ...] = ()  # fields to count over everything that passes the filter
    limit: int = 10
    cursor: str | None = None

    @property
    def has_second_stage(self) -> bool:
        return (self.rerank, self.deduplicate, self.diversify) != (None, None, None)


@dataclass(frozen=True, slots=True)
class RankQuery:
    """Axes with weights, and which pictures to order: all, those of a filter or of percentile bands, given
    ids, or a query's best matches.
    """

    axes: Mapping[str, float]
    parts: tuple[Part, ...] = ()
    filter: Filter | None = None
    percentiles: Bands = field(default_factory=dict)
    ids: tuple[ImageId, ...] | None = None
    mode: SearchMode = "hybrid"
    words_weight: float = 1.0  # of words that match, beside vectors
    order: Order = "desc"
    candidates: int = 200  # how many of the query's best matches are ordered
    limit: int = 10
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture in its place. `contributions` sum to `score`.

    A search scores in units of the query's inner product; a ranking in standard deviations of the
    collection. `score` is None for a picture that has no value on the axis: it stands last.

    `highlights` are where the words of the query stand in those of the picture.

    `found_by` says, where a query was rephrased, which of `query` and `rewrite` would have shown the picture
    on the first page by itself; neither, where it took both.
    """

    image: ImageRow
    score: float | None
    contributions: Mapping[str, float]
    found_by: tuple[str, ...] = ()
    duplicates: int = 0  # near-duplicates that were left out for it
    highlights: "tuple[Highlight, ...]" = ()


@dataclass(frozen=True, slots=True)
class Highlight:
    """A text of a picture, or a piece of a long one, and the [start, end) of its characters that match.

    `field` is one of `indexer.words.WEIGHTS`.
    """

    field: str
    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sought:
    """How a word of a query is looked for: `forms` are the tokens that at most `pictures` pictures hold.

    `equal`: as it is. `prefix`: as what begins with it. Where no picture holds it, as what contains it
    (`part`), or as what is spelled nearly alike (`spelling`). `common`: so many hold it that it is left to
    the vectors. No forms: no picture has anything like it.
    """

    word: str
    how: Literal["equal", "prefix", "part", "spelling", "common"]
    forms: tuple[str, ...]
    pictures: int


@dataclass(frozen=True, slots=True)
class Milestone:
    """The picture that `percentile` per cent of the collection stay below; `value` is that of the axis."""

    percentile: float
    value: float
    image: ImageRow


@dataclass(frozen=True, slots=True)
class Distribution:
    """How an axis spreads over the collection. Bar i of the histogram counts values in
    [edges[i], edges[i + 1]), the last bar its upper edge too. `missing` pictures have no value.
    """

    axis: str
    version: int
    images: int
    missing: int
    mean: float
    std: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    milestones: tuple[Milestone, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first, and how they were found.

    `mode` is `exact` when every eligible picture was scored, and then `candidates` counts them; it is
    `top_k` when only the `candidates` best by an approximate index or by a query were.
    """

    hits: list[Hit]
    cursor: str | None
    mode: CandidateMode
    candidates: int
    version: Version
    images: int
    model_id: str
    timings_ms: Mapping[str, float]
    facets: Mapping[str, list[Count]] = field(default_factory=dict)
    rewritten: bool = False  # the order rests on a rewrite too; on every page of the answer
    rewrite: Rewrite | None = None  # what became of the wish to rephrase; on the first page
    match: Match | str = "it was not asked"  # whether anything fits the words; or why that is not known
    words: tuple[Sought, ...] = ()  # of the query, and how they are looked for; on the first page
    vendi: float | None = None  # of the hits on this page, where they were made diverse or deduplicated
    warnings: tuple[str, ...] = ()
