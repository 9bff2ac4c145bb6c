"""One generation of a collection, for reading: what a query sees does not change while it runs.

Dimension key   N pictures, D embedding, K results
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from threading import Lock
from typing import Literal

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.index import Family, Point, Proposer, Snapshot
from indexer.ann.rows import Rows, Scored
from indexer.disk.slots import SlotMap, Slots
from indexer.errors import ConflictError
from indexer.filters.columns import Count, Fields, ToRows
from indexer.filters.language import Filter
from indexer.tables.database import Database
from indexer.tables.images import Catalog
from indexer.types import ImageId, ImageRow

# So many eligible pictures are scored within 10 ms wherever they lie, and nothing is lost. More of them take
# less CPU time through an index.
EXACT_ROWS = 30_000
EXACT = 1.0
FACTORS = (1, 2)  # times the effort of an unfiltered search
NEAR = 0.5  # of the share of allowed rows in the collection: with fewer near a query, they lie elsewhere
WANT_LEAST = 32  # candidates for each result under a filter
WIDE_WANT = 16  # far from the query scores lie close together, and codes tell them apart less well
MOST_CACHED = 64  # filters, and columns, of one view


@dataclass(frozen=True, slots=True)
class Matches:
    """`scores_K` falling, equal ones by rising slot; where more than 16 tie for the last places, any of them.

    `candidates` pictures were scored exactly.

    `mode`: `exact` when those are all the eligible ones, `top_k` when an approximate index chose them.
    """

    scores_K: Float32[ndarray, " k"]
    slots_K: Int64[ndarray, " k"]
    mode: Literal["exact", "top_k"]
    candidates: int


class View:
    """Slots [0, slots) less the deleted ones. Pictures added later are not in it; a picture deleted later
    may still be found by `search`, and is then left out by `rows_at`.

    A `Bitmap` that goes in must have come out of the same view: it holds only live pictures.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        fields: Fields,
        rows: Rows,
        slot_map: SlotMap,
        alive: Bitmap,
        snapshot: Snapshot | None,
        *,
        slots: int,
        newest: int,
        generation: int,
        epoch: int,
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._fields = fields
        self.matrix = rows
        self._map = slot_map
        self._alive = alive
        self._snapshot = snapshot
        self.slots = slots
        self.newest = newest  # no picture in it has a larger id, and every picture added later has one
        self.generation = generation
        self.epoch = epoch
        self._exact_rows = exact_rows
        self.images = alive.count
        self.built = 0 if snapshot is None else snapshot.built
        self.base = 0 if snapshot is None else snapshot.base
        self._tail = rows.from_(self.built - self.built % 8)  # whole bytes of a bitmap
        self._lock = Lock()
        self._filters: dict[str, Bitmap] = {}
        self._columns: dict[str, ndarray] = {}

    @property
    def family(self) -> Family | None:
        return None if self._snapshot is None else self._snapshot.family

    @property
    def where(self) -> str:
        """What searches the index: `cpu`, a device, or `cpu:` and why not a device."""
        return "cpu" if self._snapshot is None else self._snapshot.where

    @property
    def deleted(self) -> int:
        """Rows that are still there for pictures that are not."""
        return len(self.matrix) - self.images

    def live(self) -> Bitmap:
        return self._alive

    def bitmap(self, slots: Slots) -> Bitmap:
        """The live pictures among `slots`. ConflictError when one was edited since this view was made."""
        return Bitmap.of(self._rows_here(slots), len(self.matrix)) & self._alive

    def before(self, allow: Bitmap, slots: int, newest: int) -> Bitmap:
        """Those of `allow` that an earlier view saw, which had these `slots` and this `newest` id.

        A picture that was edited since stands behind its slots, as one does that was added; its id tells.
        """
        if slots >= self.slots:
            return allow
        with self._database.read() as connection:
            added = self._catalog.added(connection, slots, self.slots, after=newest)
        return self.without(allow, added)

    def without(self, allow: Bitmap, slots: Slots) -> Bitmap:
        return allow.without(self._map.rows_of(slots))

    def slots_in(self, allow: Bitmap) -> Int64[ndarray, " n"]:
        """Rising."""
        return self._map.slots_of(allow.rows())

    def slots_of(self, rows: Slots) -> Int64[ndarray, " n"]:
        return self._map.slots_of(rows)

    def rows_of(self, slots: Slots) -> Int64[ndarray, " n"]:
        """Where the pictures of `slots` lie; -1 where the row was reclaimed."""
        return self._map.rows_of(slots)

    def select(self, condition: Filter) -> Bitmap:
        """Live pictures for which `condition` holds."""
        key = repr(condition)  # not the condition itself: to Python, True equals 1
        with self._lock:
            found = self._filters.get(key)
        if found is None:
            mask_N = self._fields.mask(condition, self.slots, len(self.matrix), self._map.rows_of)
            found = Bitmap.of_mask(mask_N) & self._alive
            with self._lock:
                if len(self._filters) >= MOST_CACHED:
                    self._filters.clear()
                self._filters[key] = found
        return found

    def counts(self, field: str, allow: Bitmap, most: int) -> list[Count]:
        """How many of the allowed pictures have each of the `most` most frequent values of `field`."""
        return self._fields.counts(field, allow.mask(), self.slots, self._map.rows_of, most)

    def search(
        self,
        query_D: Float32[ndarray, " d"],
        k: int,
        *,
        allow: Bitmap | None = None,
        without: Slots = (),
        recall: float = 0.95,
    ) -> Matches:
        """The `k` allowed pictures with the largest inner product, best first.

        Few eligible pictures, no index, or none that reaches `recall`: all are scored. Otherwise the index
        proposes candidates for the rows it covers, an exact scan finds those behind it, and all candidates
        are scored exactly. `without` leaves out a few pictures at no cost.
        """
        allow = self._alive if allow is None else allow
        query_D = np.ascontiguousarray(query_D, np.float32)
        wanted = k + len(without)
        found, mode, candidates = self._found(query_D, wanted, allow, recall)
        slots_K = self._map.slots_of(found.rows_K)
        scores_K = found.scores_K
        if len(without):
            keep_K = ~np.isin(slots_K, np.asarray(without, np.int64))
            scores_K, slots_K = scores_K[keep_K], slots_K[keep_K]
        return Matches(scores_K[:k], slots_K[:k], mode, candidates)

    def _found(
        self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap, recall: float
    ) -> tuple[Scored, Literal["exact", "top_k"], int]:
        snapshot = self._snapshot
        if snapshot is None or recall >= EXACT or k >= self.built // 8 or self._are_few(allow):
            return self._exactly(query_D, k, allow)
        point = snapshot.calibration.cheapest(recall, k)
        if point is None:
            return self._exactly(query_D, k, allow)
        if allow.is_full or allow is self._alive:
            selector = None if allow.is_full else allow
            covered_K = snapshot.proposer.propose(query_D, point.want, point.effort, selector)
        else:
            point = self._point_under(allow, snapshot, recall, k) or point
            covered_K = self._filtered(snapshot.proposer, query_D, k, point, allow)
        if len(covered_K) < min(k, point.want):  # too few came through: no guessing
            return self._exactly(query_D, k, allow)
        found = self.matrix.best_of(query_D, covered_K, k)
        candidates = len(covered_K)
        if len(self.matrix) > self.built:
            behind, scored = self._behind(query_D, k, allow)
            candidates += scored
            rows_N = np.concatenate([found.rows_K, behind.rows_K])
            found = Scored.best_of(np.concatenate([found.scores_K, behind.scores_K]), rows_N, k)
        return found, "top_k", candidates

    def _are_few(self, allow: Bitmap) -> bool:
        """Whether a scan is fast and an index might lose some; a small collection whole is what it is for."""
        filtered = allow is not self._alive or allow.count < self.built // 8
        return filtered and allow.count <= self._exact_rows

    def _exactly(
        self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap
    ) -> tuple[Scored, Literal["exact", "top_k"], int]:
        return self.matrix.best(query_D, k, allow), "exact", allow.count

    def _point_under(self, allow: Bitmap, snapshot: Snapshot, recall: float, k: int) -> Point | None:
        """How to search when a share s of all pictures is allowed: the best k of them are among the best k/s.

        Its effort is in allowed rows, as an index counts under a filter: those in as many lists.
        """
        share = allow.count / max(1, self.images)
        wide = snapshot.calibration.cheapest(recall, ceil(k / share))
        if wide is None:
            return None
        want = max(WANT_LEAST * k, ceil(wide.want * share))
        return Point(k, ceil(wide.effort * share), want, wide.recall, wide.microseconds)

    def _filtered(
        self, proposer: Proposer, query_D: Float32[ndarray, " d"], k: int, point: Point, allow: Bitmap
    ) -> Int64[ndarray, " k"]:
        """Candidates under a filter; none when it takes a scan to be sure.

        A calibration knows nothing of how a filter lies to a query: what is allowed may be just what is far
        away. So twice the effort must show the same best `k`; where it does not, or where hardly anything
        near the query is allowed, a wide search decides.
        """
        if proposer.widest == 0:
            return np.empty(0, np.int64)
        lists = ceil(point.effort * len(self.matrix) / allow.count)
        if proposer.nearness(query_D, lists, allow) >= NEAR:
            before_K = None
            for factor in FACTORS:
                covered_K = proposer.propose(query_D, factor * point.want, factor * point.effort, allow)
                best_K = self.matrix.best_of(query_D, covered_K, k).rows_K
                if before_K is not None and np.array_equal(before_K, best_K):
                    return covered_K
                before_K = best_K
        return proposer.propose(query_D, WIDE_WANT * point.want, max(proposer.widest, point.effort), allow)

    def _behind(self, query_D: Float32[ndarray, " d"], k: int, allow: Bitmap) -> tuple[Scored, int]:
        """The `k` best rows that the index does not cover, and how many there were to score."""
        first = len(self.matrix) - len(self._tail)
        bits = Bitmap(allow.bytes_B[first // 8 :], len(self._tail)).without(range(self.built - first))
        best = self._tail.best(query_D, k, bits)
        return Scored(best.scores_K, best.rows_K + first), bits.count

    def live_rows(self, block: int) -> Iterator[Float16[ndarray, "n d"]]:
        """Every live row as it is stored, rising, `block` at a time."""
        rows_N = self._alive.rows()
        for start in range(0, len(rows_N), block):
            yield self.matrix.rows_ND[rows_N[start : start + block]]

    def vectors_at(self, slots: Slots) -> Float32[ndarray, "n d"]:
        """Stored vectors, in the order of `slots`, none of which was deleted before this view.

        ConflictError when a picture was edited since, and stands in a slot that this view does not know.
        """
        return self.matrix.take(self._rows_here(slots))

    def _rows_here(self, slots: Slots) -> Int64[ndarray, " n"]:
        rows_N = self._map.rows_of(slots)
        if np.any((rows_N < 0) | (rows_N >= len(self.matrix))):
            raise ConflictError("a picture was edited at this moment: ask again")
        return rows_N

    def sample(self, most: int) -> Float32[ndarray, "n d"]:
        """At most `most` live vectors, evenly spread over the slots; always the same for one view."""
        rows_N = self._alive.rows()
        step = max(1, -(-len(rows_N) // most))
        return self.matrix.take(rows_N[::step])

    def rows_at(self, slots: Slots) -> list[ImageRow]:
        """In the order of `slots`; pictures deleted or updated since this view was made are left out."""
        with self._database.read() as connection:
            return self._catalog.by_slots(connection, [int(slot) for slot in slots])

    def rows(self, ids: Sequence[ImageId]) -> list[ImageRow]:
        """In the order of `ids`; NotFoundError names the first that does not exist."""
        if not ids:
            return []
        with self._database.read() as connection:
            return self._catalog.by_ids(connection, ids)

    def known(self, ids: Sequence[ImageId]) -> list[ImageRow]:
        """Those of `ids` that exist, in their order."""
        with self._database.read() as connection:
            found = self._catalog.find_by_ids(connection, ids)
        return [found[image_id] for image_id in ids if image_id in found]

    def slots_now(self, ids: Sequence[ImageId]) -> list[int]:
        """Where those of `ids` stand that exist, in no order."""
        if not ids:
            return []
        with self._database.read() as connection:
            return self._catalog.slots_of(connection, ids)

    def row(self, image_id: ImageId) -> ImageRow:
        return self.rows([image_id])[0]

    def scroll(self, *, after: int = 0, limit: int = 100, condition: Filter | None = None) -> list[ImageRow]:
        """Pictures by rising id, from the first whose id is larger than `after`."""
        allowed_N = None if condition is None else self.select(condition).mask()
        found: list[ImageRow] = []
        with self._database.read() as connection:
            while len(found) < limit:
                page = self._catalog.after_id(connection, after, limit)
                if allowed_N is None:
                    return page
                row_K = self._map.rows_of([row.slot for row in page])
                # A picture added or edited since has a slot behind this view: it is not in it.
                known_K = (row_K >= 0) & (row_K < len(allowed_N))
                known_K[known_K] = allowed_N[row_K[known_K]]
                found += [row for row, inside in zip(page, known_K, strict=True) if inside]
                if len(page) < limit:
                    break
                after = page[-1].id
        return found[:limit]

    def numbers(self, field: str) -> Float64[ndarray, " n"]:
        """The number in `field` for each row; NaN where a picture has none."""
        return self._column(f"numbers of {field}", lambda *of: self._fields.numbers(field, *of))

    def keys(self, field: str, slots: Slots) -> Int64[ndarray, " n"]:
        """For each of `slots` a number, equal where the values of `field` are; -1 without a value."""
        key_N = self._column(f"keys of {field}", lambda *of: self._fields.keys(field, *of))
        return key_N[self._map.rows_of(slots)]

    def _column(self, name: str, make: "Callable[[int, int, ToRows], ndarray]") -> ndarray:
        with self._lock:
            made_N = self._columns.get(name)
        if made_N is None:
            made_N = make(self.slots, len(self.matrix), self._map.rows_of)
            with self._lock:
                if len(self._columns) >= MOST_CACHED:
                    self._columns.clear()
                self._columns[name] = made_N
        return made_N
