"""Opaque cursors of a page that stay true while others write.

A cursor names the version of the collection that the first page saw, and the following pages are answered
from it: pictures added later stay out, one that is edited stays where it was, and axis weights keep their
scale. Only deleted pictures drop out. So no page repeats or skips a picture that was there all along.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from indexer.attributes import WordTerm
from indexer.errors import InvalidCursorError
from indexer.protocols import Place, Version
from indexer.types import ImageId

LARGEST = 2**62  # version, id or count
MOST_TERMS, MOST_FORMS = 64, 64  # more than a query is given


@dataclass(frozen=True, slots=True)
class Cursor:
    """The first page saw `version`.

    `scales` holds (scale, offset) of each axis; `ties` the ids shown whose score is `score`, or where that is
    None the last one shown. `limits` are the values between which percentiles keep pictures, by axis.
    `rewrite` is what a language model made of the query: it would not say the same again. `queue` holds
    what is still to be shown of a list that was put in order as a whole: ids, and how many near-duplicates
    each stands for. `words` holds what a full match of the words adds, and how they are looked for: how
    often they occur may change.
    """

    fingerprint: str
    version: Version
    shown: int = 0
    score: float | None = None
    ties: tuple[ImageId, ...] = ()
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    rewrite: str | None = None
    queue: tuple[tuple[ImageId, int], ...] = ()
    words: tuple[float, tuple[WordTerm, ...]] | None = None

    @property
    def place(self) -> Place | None:
        """Behind the last hit shown; None before the first."""
        return Place(self.score, self.ties) if self.shown else None

    def encode(self) -> str:
        version = [self.version.number, *self.version.detail]
        fields = [self.fingerprint, version, self.shown, self.score, self.ties, self.scales]
        terms = [] if self.words is None else [(t.idf, t.share, t.forms) for t in self.words[1]]
        words = None if self.words is None else (self.words[0], terms)
        fields += [self.limits, self.rewrite, self.queue, words]
        return (
            base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")
        )

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Read a cursor; InvalidCursorError when it is damaged."""
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            print_, version, shown, score, ties, scales, limits, rewrite, queue, words = json.loads(raw)
            cursor = cls(
                str(print_),
                Version(int(version[0]), tuple(int(number) for number in version[1:])),
                int(shown),
                None if score is None else float(score),
                tuple(ImageId(int(image_id)) for image_id in ties),
                {str(name): (float(scale), float(offset)) for name, (scale, offset) in scales.items()},
                {str(name): (float(low), _number(high)) for name, (low, high) in limits.items()},
                None if rewrite is None else str(rewrite),
                tuple((ImageId(int(image_id)), int(count)) for image_id, count in queue),
                None if words is None else (float(words[0]), tuple(map(_word, words[1]))),
            )
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
            raise InvalidCursorError("this cursor is damaged: send it back exactly as it came") from error
        ids = (*cursor.ties, *(image_id for image_id, _ in cursor.queue))
        numbers = (cursor.version.number, *cursor.version.detail, cursor.shown, *ids)
        reals = [cursor.score, *(bound for limits in cursor.limits.values() for bound in limits)]
        if cursor.words is not None:
            scale, terms = cursor.words
            reals += [scale, *(real for term in terms for real in (term.idf, term.share))]
        reals += [number for scale in cursor.scales.values() for number in scale]
        if (
            not all(0 <= number < LARGEST for number in numbers)
            or not all(1 <= count < LARGEST for _, count in cursor.queue)
            or not all(math.isfinite(real) for real in reals if real is not None)
            or len(() if cursor.words is None else cursor.words[1]) > MOST_TERMS
        ):
            raise InvalidCursorError("this cursor is damaged: send it back exactly as it came")
        return cursor

    def check(self, fingerprint: str) -> None:
        """InvalidCursorError unless `fingerprint` is that of the first request."""
        if self.fingerprint != fingerprint:
            raise InvalidCursorError("this cursor belongs to another request: keep everything else unchanged")


def opened(cursor: Cursor | None, fingerprint: str, version: Version) -> Cursor:
    """The cursor that a request came with, or for a first page one before everything."""
    if cursor is None:
        return Cursor(fingerprint, version)
    cursor.check(fingerprint)
    return cursor


def _word(term: "tuple[object, object, list[object]]") -> WordTerm:
    idf, share, forms = term
    if len(forms) > MOST_FORMS:
        raise ValueError(f"{len(forms)} forms of a word")
    return WordTerm(tuple(str(form) for form in forms), float(str(idf)), float(str(share)))


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def fingerprint(*values: object) -> str:
    """A short digest of whatever must not change between two pages."""
    return hashlib.blake2b(repr(values).encode(), digest_size=9).hexdigest()
