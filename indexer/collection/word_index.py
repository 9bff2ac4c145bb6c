"""Words as a snapshot reads them: of the rows that are alive, and of no other.

Dimension key   N rows, E occurrences, M rows with a match, D embedding, K results
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from indexer.ann.bitmap import Bitmap
from indexer.ann.rows import Rows, Scored
from indexer.attributes import SATURATION, TOGETHER, Phrase, Words, WordTerm
from indexer.collection.candidates import Found
from indexer.disk.slots import SlotMap
from indexer.lru import Lru
from indexer.tables.collections import State
from indexer.tables.database import Database
from indexer.tables.words import WordTables
from indexer.types import Count
from indexer.words import WEIGHTS

SMALLEST = 1e-300  # that can be divided by
MOST_BYTES = 64 << 20  # of occurrences that are kept
MOST_FOUND_BYTES = 8 << 20  # of a snapshot, of which several are kept: values, pages and reasons ask again
OVERHEAD = 200  # bytes of what is kept beside its numbers
MOST_RESEMBLING = 2000  # tokens whose spelling is compared
MOST_COUNTED = 50  # of those, the most alike ones, whose pictures are counted

SHORTEST_SPELLED = 4  # letters of a word that may be misspelled
LONG_WORD = 8  # letters from which two slips of the finger are forgiven

Resemblance = Literal["equal", "prefix", "part", "spelling"]


@dataclass(frozen=True, slots=True)
class Postings:
    """The slots below `end` that hold a token, rising, and how much its occurrences there count together."""

    end: int
    slot_E: Int64[ndarray, " e"]
    weight_E: Float32[ndarray, " e"]


class WordIndex:
    """The words of one collection, whatever the snapshot. Safe to use from threads."""

    def __init__(self, database: Database, collection: str) -> None:
        self._database = database
        self._collection = collection
        self.tables = WordTables(collection)
        self._kept: Lru[str, Postings] = Lru(
            MOST_BYTES, lambda kept: OVERHEAD + kept.slot_E.nbytes + kept.weight_E.nbytes
        )

    def postings(self, word: str, slots: int) -> Postings:
        """Of all slots below `slots` at least: what a slot says never changes."""
        kept = self._kept.find(word)
        if kept is None or kept.end < slots:
            with self._database.read() as connection:
                end = State.read(connection, self._collection).slots
                found = self.tables.postings(connection, word)
            slot_E = np.fromiter((slot for slot, _ in found), np.int64, len(found))
            weight_E = np.fromiter((WEIGHTS[field] for _, field in found), np.float32, len(found))
            # Several occurrences in one slot are neighbours.
            first_E = np.flatnonzero(np.diff(slot_E, prepend=-1))
            if len(first_E):
                weight_E = np.add.reduceat(weight_E, first_E)
            kept = Postings(end, slot_E[first_E], weight_E)
            self._kept.keep(word, kept)
        return kept

    def slots_with(self, phrase: Sequence[str]) -> list[int]:
        with self._database.read() as connection:
            return self.tables.slots_with(connection, phrase)

    def resembling(self, word: str, how: Resemblance, most: int) -> list[str]:
        """Tokens that are like `word`, the most alike first; some may be of pictures that are gone."""
        if how == "equal":
            return [word]
        with self._database.read() as connection:
            if how == "prefix":
                return self.tables.beginning_with(connection, word, most)
            if how == "part":
                return self.tables.containing(connection, word, most)
            near = self.tables.resembling(connection, word, MOST_RESEMBLING)
        if len(word) < SHORTEST_SPELLED:
            return []
        far = 1 if len(word) < LONG_WORD else 2
        found = process.extract(word, near, scorer=OSA.distance, score_cutoff=far, limit=most, processor=None)
        return [text for text, distance, _ in sorted(found, key=lambda one: one[1]) if distance > 0]


class SnapshotWords:
    """The words of the pictures in the rows `alive`."""

    def __init__(self, index: WordIndex, slots: int, slot_map: SlotMap, alive: Bitmap) -> None:
        self._index = index
        self._slots = slots
        self._map = slot_map
        self._alive = alive
        self._seen: Lru[str, tuple[ndarray, ndarray]] = Lru(MOST_FOUND_BYTES, _bytes_of)
        self._found: Lru[Words | Phrase, tuple[ndarray, ndarray]] = Lru(MOST_FOUND_BYTES, _bytes_of)

    def values(self, attribute: Words | Phrase, rows_N: Int64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Of some live rows; NaN where a picture has none."""
        rows_M, value_M = self.matching(attribute)
        if len(rows_M) == 0:
            return np.full(len(rows_N), np.nan)
        at_N = np.minimum(np.searchsorted(rows_M, rows_N), len(rows_M) - 1)
        return np.where(rows_M[at_N] == rows_N, value_M[at_N], np.nan)

    def matching(self, attribute: Words | Phrase) -> tuple[Int64[ndarray, " m"], Float64[ndarray, " m"]]:
        """(rows, values) of the pictures that have a value; rows rise."""
        return self._found.get(
            attribute,
            lambda: self._phrase(attribute) if isinstance(attribute, Phrase) else self._sum(attribute),
        )

    def _sum(self, words: Words) -> tuple[Int64[ndarray, " m"], Float64[ndarray, " m"]]:
        rows_M, total_M = _added([self._share(term) for term in words.terms])
        share_M = total_M / max(sum(term.idf for term in words.terms), SMALLEST)
        return rows_M, share_M**TOGETHER

    def added_to(
        self,
        found: Found,
        matrix: Rows,
        direction_D: Float32[ndarray, " d"],
        k: int,
        among: Bitmap | None,
        words: Words,
        scale: float,
    ) -> Found:
        """The `k` best by inner product and words together, of the live rows or those `among` them.

        A picture whose words do not match gains nothing by them, so none comes in that is neither among the
        `k` best by its vector, which `found` holds, nor among the matches: all of those are scored.
        """
        rows_M, value_M = self.matching(words)
        if among is not None:
            keep_M = among.has(rows_M)
            rows_M, value_M = rows_M[keep_M], value_M[keep_M]
        if len(rows_M) == 0:
            return found
        total_M = matrix.project(direction_D, rows_M) + np.float32(scale) * value_M.astype(np.float32)
        rest = np.flatnonzero(~np.isin(found.best.rows_K, rows_M))
        scores_N = np.concatenate([total_M, found.best.scores_K[rest]])
        rows_N = np.concatenate([rows_M, found.best.rows_K[rest]])
        if len(rows_N) > k > 0:  # those that may come, before they are put in order
            keep_N = scores_N >= np.partition(scores_N, -k)[-k]
            scores_N, rows_N = scores_N[keep_N], rows_N[keep_N]
        also = 0 if found.mode == "exact" else len(rows_M)
        return Found(Scored.best_of(scores_N, rows_N, k), found.mode, found.candidates + also)

    def _phrase(self, phrase: Phrase) -> tuple[Int64[ndarray, " m"], Float64[ndarray, " m"]]:
        rows_E, _ = self._rows(np.array(self._index.slots_with(phrase.tokens), np.int64))
        return np.sort(rows_E), np.ones(len(rows_E))

    def counts(self, word: str, how: Resemblance, most: int) -> list[Count]:
        """How many pictures hold each token that is like `word`; the most frequent first, then by text."""
        tokens = self._index.resembling(word, how, max(most, MOST_COUNTED))
        counted = [Count(token, len(self._occurrences(token)[0])) for token in tokens]
        there = [count for count in counted if count.count]
        return sorted(there, key=lambda count: (-count.count, str(count.value)))[:most]

    def _share(self, term: WordTerm) -> tuple[Int64[ndarray, " e"], Float64[ndarray, " e"]]:
        """What one word of a query gives the rows that hold a form of it."""
        rows_E, weight_E = _added([self._occurrences(token) for token in term.forms])
        return rows_E, term.share * term.idf * weight_E / (weight_E + SATURATION)

    def _occurrences(self, token: str) -> tuple[Int64[ndarray, " e"], Float32[ndarray, " e"]]:
        """Live rows, rising, and the weight of the token there."""

        def make() -> tuple[Int64[ndarray, " e"], Float32[ndarray, " e"]]:
            postings = self._index.postings(token, self._slots)
            rows_E, here_E = self._rows(postings.slot_E)
            return rows_E, postings.weight_E[here_E]

        return self._seen.get(token, make)

    def _rows(self, slot_E: Int64[ndarray, " e"]) -> tuple[Int64[ndarray, " f"], Int64[ndarray, " f"]]:
        """(live rows, where they stand in `slot_E`)."""
        rows_E = self._map.rows_of(slot_E)
        here_E = np.flatnonzero((rows_E >= 0) & (rows_E < self._alive.size))
        here_E = here_E[self._alive.has(rows_E[here_E])]
        return rows_E[here_E], here_E


def _bytes_of(pair: tuple[ndarray, ndarray]) -> int:
    return OVERHEAD + pair[0].nbytes + pair[1].nbytes


def _added(
    parts: Sequence[tuple[Int64[ndarray, " e"], Float[ndarray, " e"]]],
) -> tuple[Int64[ndarray, " m"], Float64[ndarray, " m"]]:
    """All rows of several lists, rising, and the sum of what each has; rows rise in each list too."""
    if len(parts) == 1:
        return parts[0][0], parts[0][1].astype(np.float64)
    rows_M = np.unique(np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in parts)]))
    total_M = np.zeros(len(rows_M))
    for rows_E, value_E in parts:
        total_M[np.searchsorted(rows_M, rows_E)] += value_E
    return rows_M, total_M
