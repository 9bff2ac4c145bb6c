"""Pages of an ordered list, put together, are the list, also when pictures move to other slots meanwhile."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexer.types import ImageId, ImageRow, Slot
from rerank.cursor import Cursor
from rerank.page import Page, Scored, best

SCORES = st.lists(st.sampled_from([0.5, 0.25, -1.0, 0.1, float("nan")]), max_size=30)


def scored(scores: list[float], slots: list[int]) -> Scored:
    """The picture with id i has `scores[i]` and stands in `slots[i]`; given by rising slot."""
    order = np.argsort(slots, kind="stable")
    return Scored(np.array(scores, np.float32)[order], np.array(slots, np.int64)[order], order.astype(float))


def rows_of(part: Scored, slots: list[int]) -> list[ImageRow]:
    return [
        ImageRow(ImageId(slots.index(slot)), Slot(slot), "", "", 0, 0, 1, 1, "png", None, 0.0, {})
        for slot in part.slots_K.tolist()
    ]


def reference(scores: list[float], ascending: bool) -> list[int]:
    known = [i for i, s in enumerate(scores) if s == s]
    unknown = [i for i, s in enumerate(scores) if s != s]
    return sorted(known, key=lambda i: (scores[i] if ascending else -scores[i], i)) + unknown


@given(SCORES, st.integers(1, 40), st.booleans())
def test_best_is_a_stable_sort_with_the_unknown_last(scores: list[float], k: int, ascending: bool) -> None:
    found = best(scored(scores, list(range(len(scores)))), k, ascending=ascending)
    assert found.slots_K.tolist() == reference(scores, ascending)[:k]


@given(SCORES, st.integers(1, 7), st.booleans(), st.floats(0, 1), st.randoms())
def test_pages_put_together_are_the_whole_list_though_pictures_move(
    scores: list[float], limit: int, ascending: bool, share: float, random: Random
) -> None:
    slots = list(range(len(scores)))
    cursor: Cursor | None = Cursor("f", len(scores), len(scores))
    seen: list[int] = []
    while cursor is not None:
        page = Page(
            Cursor.decode(cursor.encode(), fingerprint="f"),
            limit,
            [slots[image_id] for image_id in cursor.ties],
        )
        ordered = best(scored(scores, slots), page.wanted, ascending=ascending)
        assert not page.lacks(ordered, page.wanted, ascending=ascending)
        cut = page.cut(ordered, deepest=None, ascending=ascending)
        assert len(cut.scored.slots_K) <= limit
        rows = rows_of(cut.scored, slots)
        cursor = page.following(cut, rows, {})
        seen += [row.id for row in rows]
        for image_id in range(len(scores)):
            if random.random() < share:
                slots[image_id] = max(slots) + 1
    assert seen == reference(scores, ascending)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30), st.integers(1, 5), st.randoms())
def test_pages_stay_true_when_equal_scores_swap_places_in_the_last_bit(
    scores: list[float],
    limit: int,
    random: Random,
) -> None:
    rounded = [round(score, 2) for score in scores]
    slots = list(range(len(scores)))
    cursor: Cursor | None = Cursor("f", len(scores), len(scores))
    seen: list[int] = []
    while cursor is not None:
        noisy = [score + random.choice([-1e-7, 0.0, 1e-7]) for score in rounded]
        page = Page(cursor, limit, cursor.ties)
        # A computation in other batches may order equals differently: all of them are offered again.
        cut = page.cut(best(scored(noisy, slots), len(noisy)), deepest=None)
        cursor = page.following(cut, rows_of(cut.scored, slots), {})
        seen += cut.scored.slots_K.tolist()
    assert sorted(seen) == slots
    assert [rounded[i] for i in seen] == sorted(rounded, reverse=True)


def test_a_picture_that_rises_above_the_page_does_not_end_the_list() -> None:
    slots = list(range(6))
    first = Page(Cursor("f", 6, 6), 2)
    cut = first.cut(best(scored([6, 5, 4, 3, 2, 1], slots), first.wanted), deepest=None)
    cursor = first.following(cut, rows_of(cut.scored, slots), {})
    assert cursor is not None
    second = Page(cursor, 2, cursor.ties)
    risen = scored([6, 5, 4, 3, 2, 7], slots)
    assert second.lacks(best(risen, second.wanted), second.wanted)
    assert not second.lacks(best(risen, 6), 10)  # there are no more
    assert second.cut(best(risen, 6), deepest=None).scored.slots_K.tolist() == [2, 3]
