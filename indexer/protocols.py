"""What the layers above may rely on: encoders, and stores that speak of pictures by their ids.

Dimension key   N items, D embedding, H height, W width, K results, P percentages
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from indexer.attributes import Attribute, Term, Words
from indexer.types import Count, IdList, ImageId, ImageRow, Known, Metadata, NewImage
from indexer.where import EVERYTHING, Where

TIE = 1e-6  # scores closer than this may swap places between two computations of the same product
EXACT = 1.0  # a recall


class Encoder(Protocol):
    """Maps pictures and texts into one space, where inner product is likeness.

    Rows of every result are L2-normalised float32. All methods may be called from several threads.
    `prepare` is the cheap, per-picture part (resize, crop, to tensor) that the ingest pipeline runs beside
    decoding; `encode_prepared(stack of prepared)` is the model. Equal input gives equal output whatever the
    batch it travels in, up to float32 rounding.
    """

    @property
    def model_id(self) -> str:
        """Names the weights, not the library: two encoders with one id give the same vectors."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def licence(self) -> str: ...

    def prepare(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> NDArray[np.generic]: ...

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]: ...

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> Float32[ndarray, "n d"]: ...

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]: ...

    def fits(self, text: str) -> bool:
        """Whether `text` is read to its end: what is beyond the model's limit counts for nothing.

        True is certain; a text that fills the limit to the last token may be denied.
        """
        ...

    def axes(self) -> Mapping[str, "ShippedAxis"]:
        """Rank axes that were fitted offline for this model; may be empty."""
        ...


class ShippedAxis(Protocol):
    """A direction that comes with a model."""

    @property
    def direction_D(self) -> Float32[ndarray, " d"]:
        """Unit length; larger inner product means more of the attribute."""
        ...

    @property
    def card(self) -> str:
        """One paragraph: fitted how, on what, how well it held out, where it fails."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A state of a store. A larger one is later; `detail` is the store's own, and may be written down."""

    number: int
    detail: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Matches:
    """The best pictures of a question, best first.

    `candidates` pictures were scored exactly. `mode`: `exact` when those are all that may come, `top_k` when
    an approximate index chose them. A score is NaN where a picture has no value; such ones stand last.
    """

    ids_K: Int64[ndarray, " k"]
    scores_K: Float32[ndarray, " k"]
    mode: Literal["exact", "top_k"]
    candidates: int

    def part(self, keep_K: "ndarray | slice") -> "Matches":
        return Matches(self.ids_K[keep_K], self.scores_K[keep_K], self.mode, self.candidates)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: behind the pictures that score better than `score`, and behind those of `ids`,
    which score the same. A score of None: among the pictures without a value, behind the largest of `ids`.
    """

    score: float | None
    ids: tuple[ImageId, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantile:
    """The value that a percentage of the pictures stay below, and a picture that has it."""

    value: float
    id: ImageId


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the `count` pictures that have a value. Bar i counts values in [edges_B[i], edges_B[i + 1]), the
    last one its upper edge too. Mean and deviation are 0 where there is no value.
    """

    count: int
    mean: float
    std: float
    counts_B: Int64[ndarray, " b"]
    edges_B: Float64[ndarray, " c"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures and their vectors."""

    ids_N: Int64[ndarray, " n"]
    vectors_ND: Float32[ndarray, "n d"]


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """`index` is the family in force, or `exact`; `index_device` what searches it, and if not a GPU, why.

    `gpu_failures` were answered by the CPU. Rows are versions of pictures: those that the index covers, those
    that are scanned, and those that nothing shows any more.
    """

    images: int
    version: Version
    index: str
    index_device: str
    gpu_failures: int
    indexed_rows: int
    unindexed_rows: int
    deleted_rows: int
    disk_bytes: int


class Snapshot(Protocol):
    """One version of a store. It never changes: a picture that is added, edited or deleted later is answered
    for as it was. May be used from several threads.

    Where `ids` are given they are answered in their order, and NotFoundError names the first that is not in
    the snapshot. What a store cannot do raises UnsupportedError, which names the capability.
    """

    @property
    def version(self) -> Version: ...

    @property
    def images(self) -> int:
        """How many there are."""
        ...

    @property
    def writes(self) -> int:
        """Grows by one with each picture that is added or edited: tells how stale a statistic is."""
        ...

    @property
    def dim(self) -> int: ...

    def nearest(
        self,
        direction_D: Float32[ndarray, " d"],
        k: int,
        where: Where = EVERYTHING,
        *,
        recall: float = 0.95,
        words: tuple[Words, float] | None = None,
    ) -> Matches:
        """The `k` pictures with the largest inner product, or with `words` = (attribute, scale ≥ 0) the
        largest sum of it and scale · value; equal scores in an order that does not change.

        Scores are exact. At least the share `recall` of the true `k` best is expected to be among them, and
        every picture among them whose words match; EXACT misses none. Where more than a few tie for the last
        places, any of them.
        """
        ...

    def order(
        self,
        terms: Sequence[Term],
        k: int,
        where: Where = EVERYTHING,
        *,
        after: Place | None = None,
        ascending: bool = False,
        missing: Literal["last", "average"] = "average",
    ) -> Matches:
        """The first `k` pictures behind `after` by the sum of `terms`, exactly, largest first or `ascending`.

        A missing value counts as the term's offset (`average`), or, with a single term, puts the picture
        behind all others, by rising id, with a score of NaN (`last`).
        """
        ...

    def count(self, where: Where = EVERYTHING) -> int: ...

    def ids(self, where: Where = EVERYTHING) -> list[ImageId]:
        """Rising."""
        ...

    def vectors(self, ids: IdList) -> Float32[ndarray, "n d"]: ...

    def rows(self, ids: IdList) -> list[ImageRow]: ...

    def find(self, ids: IdList) -> list[ImageRow]:
        """Those of `ids` that the snapshot holds, in their order."""
        ...

    def values(self, attribute: Attribute, ids: IdList) -> Float64[ndarray, " n"]:
        """NaN where a picture has none."""
        ...

    def groups(self, field: str, ids: IdList) -> Int64[ndarray, " n"]:
        """A number for each picture, equal where the (first) values of `field` are; -1 without one."""
        ...

    def facets(self, field: str, where: Where = EVERYTHING, *, most: int = 100) -> list[Count]:
        """How many pictures have each of the `most` most frequent values of `field`, then by value."""
        ...

    def quantiles(
        self, attribute: Attribute, percents: Sequence[float], where: Where = EVERYTHING
    ) -> list[Quantile]:
        """The value at position ⌊p · n / 100⌋, at most the last, of the n values in rising order, for each p.

        Empty where no picture has a value.
        """
        ...

    def statistics(self, attribute: Attribute, where: Where = EVERYTHING, *, bars: int = 1) -> Statistics: ...

    def tokens(
        self, word: str, how: Literal["equal", "prefix", "part", "spelling"] = "equal", *, most: int = 20
    ) -> list[Count]:
        """How many pictures hold each token like `word` (`indexer.words`): that very one, those that begin
        with it, those that contain it, or those that are spelled nearly so. At most `most`, the most
        frequent first, then by text; where very many are like it, any of them.

        Nearly: one letter more, less, other or swapped with its neighbour, in a word of 8 or more two, and
        three letters in a row or the first two are the same. Fewer than 4 letters are spelled like nothing.
        """
        ...

    def sample(self, most: int) -> Sample:
        """At most `most` pictures, evenly spread over the store; always the same ones."""
        ...

    def scroll(self, *, after: int = 0, limit: int = 100, where: Where = EVERYTHING) -> list[ImageRow]:
        """Pictures by rising id, from the first whose id is larger than `after`."""
        ...


class Store(Protocol):
    """Pictures with vectors of one model. May be used from several threads.

    A picture keeps its id for life, and no id is used twice: one that is added later has a larger one. When a
    method returns, what it did survives a power cut, and the next snapshot shows it.
    """

    @property
    def model_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def snapshot(self, at: Version | None = None) -> Snapshot:
        """The newest version, or the state of an earlier one, without the pictures that were deleted since.

        A picture that was edited since is shown as it was, as long as the store keeps the version that was
        replaced, and then as it is. InvalidCursorError: there never was such a version.
        """
        ...

    def info(self) -> StoreInfo: ...

    def add(self, images: Sequence[NewImage], vectors_ND: Float32[ndarray, "n d"]) -> list[ImageId]: ...

    def patch(self, image_id: ImageId, changes: Metadata) -> ImageRow: ...

    def fill(self, additions: Mapping[ImageId, Metadata]) -> int: ...

    def delete(self, ids: Sequence[ImageId]) -> list[ImageId]: ...

    def known(self, uris: Sequence[str] | None = None) -> Mapping[str, Known]: ...

    def find_by_sha256(self, digests: Sequence[str]) -> Mapping[str, list[ImageRow]]: ...
