"""Opaque page marks that stay true while others write.

A cursor pins what the first page saw: pictures added later stay out of the following pages, and axis weights
keep the scale that they had. Deleted pictures drop out. An edited picture moves to another slot and keeps its
id, so pictures are known by their ids here. So no page repeats or skips a picture that was there all along,
unless an edit changes its very score: then it stands where the new one puts it.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from indexer.errors import InvalidCursorError
from indexer.types import ImageId

LARGEST = 2**62  # slot, id or count
TIE = 1e-6  # scores closer than this may swap places between two computations of the same product


@dataclass(frozen=True, slots=True)
class Cursor:
    """The first page saw slots below `slots`, and ids up to `newest`.

    `scales` holds (scale, offset) of each axis; `ties` the ids shown whose score is `score`, or where that is
    None the last one shown. `limits` are the values between which percentiles keep pictures, by axis.
    `rewrite` is what a language model made of the query: it would not say the same again. `queue` holds
    what is still to be shown of a list that was put in order as a whole: ids, and how many near-duplicates
    each stands for.
    """

    fingerprint: str
    slots: int
    newest: int
    shown: int = 0
    score: float | None = None
    ties: tuple[ImageId, ...] = ()
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    rewrite: str | None = None
    queue: tuple[tuple[ImageId, int], ...] = ()

    def encode(self) -> str:
        fields = [self.fingerprint, self.slots, self.newest, self.shown, self.score, self.ties, self.scales]
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
            mark, slots, newest, shown, score, ties, scales, limits, rewrite, queue = json.loads(raw)
            cursor = cls(
                str(mark),
                int(slots),
                int(newest),
                int(shown),
                None if score is None else float(score),
                tuple(ImageId(int(image_id)) for image_id in ties),
                {str(name): (float(scale), float(offset)) for name, (scale, offset) in scales.items()},
                {str(name): (float(low), _number(high)) for name, (low, high) in limits.items()},
                None if rewrite is None else str(rewrite),
                tuple((ImageId(int(image_id)), int(count)) for image_id, count in queue),
            )
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise InvalidCursorError("this cursor is damaged: send it back exactly as it came") from error
        ids = (*cursor.ties, *(image_id for image_id, _ in cursor.queue))
        numbers = (cursor.slots, cursor.newest, cursor.shown, *ids)
        if cursor.fingerprint != fingerprint or not all(0 <= number < LARGEST for number in numbers):
            raise InvalidCursorError("this cursor belongs to another request: keep everything else unchanged")
        return cursor


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def fingerprint(*values: object) -> str:
    """A short digest of whatever must not change between two pages."""
    return hashlib.blake2b(repr(values).encode(), digest_size=9).hexdigest()
