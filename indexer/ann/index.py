"""What an approximate index is: something that proposes rows, and knows how well it does.

An index never answers. It proposes candidates; their exact scores decide. So every family, on every device,
deletes, filters and scores alike.

Dimension key   K proposed rows, D embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.rows import Rows
from indexer.ann.segment import Segment

Family = Literal["ivf_rabitq", "ivf_sq8", "hnsw", "flat", "cagra"]
FAMILIES: tuple[Family, ...] = ("ivf_rabitq", "ivf_sq8", "hnsw")
GPU_FAMILIES: tuple[Family, ...] = ("flat", "cagra")  # of use only there; `ivf_sq8` runs on both


class Built(Protocol):
    """An index that was made and not yet read back."""

    @property
    def built(self) -> int: ...

    def save(self, path: Path) -> None: ...


class CandidateGenerator(Protocol):
    """Covers rows [0, built). Immutable: what a search may vary is an argument. Safe to call from threads."""

    @property
    def built(self) -> int: ...

    @property
    def filtered_effort(self) -> int:
        """The effort for a filter whose matches lie far from the query; 0 where only a scan is sure."""
        ...

    def filter_locality(self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap) -> float:
        """The share of allowed rows among those that `effort` shows, over their share of all rows.

        1 when the filter has nothing to do with the query, less when its matches lie elsewhere.
        """
        ...

    def candidates(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        """At most `want` rows with large inner products, none twice, in no promised order.

        `effort` is lists probed (IVF) or the length of the queue (HNSW); with `allow`, only its members are
        proposed, and the effort is spent on those.
        """
        ...

    def efforts(self) -> list[int]:
        """Efforts worth calibrating, rising."""
        ...

    @property
    def extendable(self) -> "Extendable | None":
        """Itself where rows that come later can be added; None where only a new build covers them."""
        ...


class Extendable(CandidateGenerator, Protocol):
    """An index that takes rows which came after its build, a segment at a time; itself it never changes."""

    def segment(self, rows: Rows, first: int, end: int, merged: Sequence[Segment] = ()) -> Segment:
        """Rows [first, end), and those of `merged`, its neighbours in rising order before `first`."""
        ...

    def load_segment(self, path: Path, first: int) -> Segment:
        """One that was saved, whose checksum has been checked. CorruptStoreError where it does not fit."""
        ...

    def followed_by(self, segments: Sequence[Segment]) -> CandidateGenerator:
        """The index with these segments, each beginning where the one before it ends, instead of its own."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """One way to search: `want` candidates at `effort`; the share of the true best `k` it found; how fast."""

    k: int
    effort: int
    want: int
    recall: float
    microseconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Points measured when the index was built, on queries that it was not trained on."""

    points: tuple[Point, ...]

    @classmethod
    def of(cls, measured: Sequence[Point]) -> "Calibration":
        """Without points that another one beats in recall and in speed."""
        return cls(
            tuple(
                point
                for point in measured
                if not any(
                    other.k == point.k
                    and other.recall >= point.recall
                    and other.microseconds < point.microseconds
                    for other in measured
                )
            )
        )

    def cheapest(self, recall: float, k: int) -> Point | None:
        """The fastest point that reached `recall` for the best `k`; None when none did: then scan exactly.

        A calibrated k serves up to twice as many, with more candidates (a page asks for one more than it
        shows); beyond that the next one counts, and beyond the largest, effort and candidates grow with k.
        """
        known = sorted({point.k for point in self.points})
        if not known:
            return None
        nearest = next((size for size in known if 2 * size >= k), known[-1])
        reached = [point for point in self.points if point.k == nearest and point.recall >= recall]
        if not reached:
            return None
        best = min(reached, key=lambda point: point.microseconds)
        if k <= nearest:
            return best
        factor = k / nearest
        effort = best.effort if factor <= 2 else int(best.effort * factor)
        return Point(k, effort, int(best.want * factor), best.recall, best.microseconds * factor)


@dataclass(frozen=True, slots=True)
class ActiveIndex:
    """An index in force, with its calibration. `where`: `cpu`, a device, or `cpu:` and why not a device.

    It was built over `base_rows` rows; segments that followed make it cover `covered_rows`.
    """

    family: Family
    generator: CandidateGenerator
    calibration: Calibration
    base_rows: int
    where: str = "cpu"

    @property
    def covered_rows(self) -> int:
        return self.generator.built
