"""What a request looks at: a view of the collection, a place in the list, and the pictures that may come."""

from dataclasses import dataclass, replace

from indexer.ann.bitmap import Bitmap
from indexer.collection.view import View
from indexer.filters.language import Filter
from rerank.axes.terms import Taste
from rerank.cursor import Cursor
from rerank.page import Page
from rerank.types import Bands, IdPart, Part


@dataclass(frozen=True, slots=True)
class Scope:
    """`cursor` stands before the first hit of the page that is asked for."""

    view: View
    cursor: Cursor

    @classmethod
    def open(cls, view: View, text: str | None, mark: str) -> "Scope":
        """`text` is the cursor that came with a request whose fingerprint is `mark`."""
        if text is None:
            return cls(view, Cursor(mark, view.slots, view.newest))
        return cls(view, Cursor.decode(text, fingerprint=mark))

    def rewritten(self, text: str | None) -> "Scope":
        """With a rewrite that the following pages keep."""
        return replace(self, cursor=replace(self.cursor, rewrite=text))

    def banded(self, taste: Taste, bands: Bands) -> "Scope":
        """With the values of percentiles, which the following pages keep."""
        limits = taste.limits(bands, self.view, self.cursor.limits)
        return replace(self, cursor=replace(self.cursor, limits=limits))

    def eligible(self, condition: Filter | None) -> Bitmap:
        """Live pictures that pass the filter and were there when the first page was made."""
        allow = self.view.live() if condition is None else self.view.select(condition)
        return self.view.before(allow, self.cursor.slots, self.cursor.newest)

    def page(self, limit: int) -> Page:
        """The next `limit` hits of an order."""
        return Page(self.cursor, limit, self.view.slots_now(self.cursor.ties))


def named(parts: tuple[Part, ...], view: View) -> list[int]:
    """Slots of the pictures that a query names: they are left out of its hits."""
    ids = [part.id for part in parts if isinstance(part, IdPart)]
    return [row.slot for row in view.rows(ids)] if ids else []
