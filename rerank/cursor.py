"""Opaque page marks that stay true while others write.

A cursor pins what the first page saw: pictures added later stay out of the following pages, and axis weights
keep the scale that they had. Deleted pictures drop out. So no page repeats or skips a picture that was there
all along.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from indexer.errors import InvalidCursorError

LARGEST = 2**62  # slot or count
TIE = 1e-6  # scores closer than this may swap places between two computations of the same product


@dataclass(frozen=True, slots=True)
class Cursor:
    """`scales` holds (scale, offset) of each axis; `ties` the slots shown whose score is `score`.

    `limits` are the values between which percentiles keep pictures, by axis.
    `rewrite` is what a language model made of the query: it would not say the same again. `queue` holds
    what is still to be shown of a list that was put in order as a whole: slots, and how many near-duplicates
    each stands for.
    """

    fingerprint: str
    slots: int
    shown: int = 0
    score: float | None = None
    ties: tuple[int, ...] = ()
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    rewrite: str | None = None
    queue: tuple[tuple[int, int], ...] = ()

    def encode(self) -> str:
        fields = [self.fingerprint, self.slots, self.shown, self.score, self.ties, self.scales]
        fields += [self.limits, self.rewrite, self.queue]
        return (
            base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")
        )

    @classmethod
    def decode(cls, text: str, *, fingerprint: str) -> "Cursor":
        """Read a cursor; InvalidCursorError when it is damaged or belongs to another request.

        `fingerprint` is that of the request, without the cursor.
        """
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            mark, slots, shown, score, ties, scales, limits, rewrite, queue = json.loads(raw)
            cursor = cls(
                str(mark),
                int(slots),
                int(shown),
                None if score is None else float(score),
                tuple(int(slot) for slot in ties),
                {str(name): (float(scale), float(offset)) for name, (scale, offset) in scales.items()},
                {str(name): (float(low), _number(high)) for name, (low, high) in limits.items()},
                None if rewrite is None else str(rewrite),
                tuple((int(slot), int(count)) for slot, count in queue),
            )
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise InvalidCursorError("this cursor is damaged: send it back exactly as it came") from error
        named = (cursor.slots, cursor.shown, *cursor.ties, *(slot for slot, _ in cursor.queue))
        if cursor.fingerprint != fingerprint or not all(0 <= number < LARGEST for number in named):
            raise InvalidCursorError("this cursor belongs to another request: keep everything else unchanged")
        return cursor


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def fingerprint(*values: object) -> str:
    """A short digest of whatever must not change between two pages."""
    return hashlib.blake2b(repr(values).encode(), digest_size=9).hexdigest()
