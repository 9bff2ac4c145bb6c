"""Pages of an ordered list, put together, are the list, also when an approximate search finds others."""

import base64
import json
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InvalidCursorError
from indexer.protocols import Matches, Version
from rerank.cursor import Cursor
from rerank.page import Cut, Page, following

SCORES = st.lists(st.sampled_from([0.5, 0.25, -1.0, 0.1]), max_size=30)


def best(scores: list[float], k: int) -> Matches:
    """The `k` best; picture i has `scores[i]`."""
    order = np.argsort(-np.array(scores, np.float32), kind="stable")[:k]
    return Matches(order, np.array(scores, np.float32)[order], "top_k", len(scores))


def first_cursor() -> Cursor:
    return Cursor("f", Version(1, (2, 3)))


@given(SCORES, st.integers(1, 7))
def test_pages_put_together_are_the_whole_list(scores: list[float], limit: int) -> None:
    cursor: Cursor | None = first_cursor()
    seen: list[int] = []
    while cursor is not None:
        page = Page(Cursor.decode(cursor.encode()), limit)
        ordered = best(scores, page.wanted)
        assert not page.lacks(ordered, page.wanted)
        cut = page.cut(ordered, deepest=None)
        assert len(cut.matches.ids_K) <= limit
        cursor = following(page.cursor, cut, {})
        seen += cut.matches.ids_K.tolist()
    assert seen == sorted(range(len(scores)), key=lambda i: (-scores[i], i))


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30), st.integers(1, 5), st.randoms())
def test_pages_stay_true_when_equal_scores_swap_places_in_the_last_bit(
    scores: list[float],
    limit: int,
    random: Random,
) -> None:
    rounded = [round(score, 2) for score in scores]
    cursor: Cursor | None = first_cursor()
    seen: list[int] = []
    while cursor is not None:
        noisy = [score + random.choice([-1e-7, 0.0, 1e-7]) for score in rounded]
        # A computation in other batches may order equals differently: all of them are offered again.
        cut = Page(cursor, limit).cut(best(noisy, len(noisy)), deepest=None)
        cursor = following(cursor, cut, {})
        seen += cut.matches.ids_K.tolist()
    assert sorted(seen) == list(range(len(scores)))
    assert [rounded[i] for i in seen] == sorted(rounded, reverse=True)


def test_a_picture_that_is_found_late_above_the_page_does_not_end_the_list() -> None:
    first = Page(first_cursor(), 2)
    cursor = following(first.cursor, first.cut(best([6.0, 5, 4, 3, 2, 1], first.wanted), deepest=None), {})
    assert cursor is not None
    second = Page(cursor, 2)
    found_late = [6.0, 5, 4, 3, 2, 7]
    assert second.lacks(best(found_late, second.wanted), second.wanted)
    assert not second.lacks(best(found_late, 6), 10)  # there are no more
    assert second.cut(best(found_late, 6), deepest=None).matches.ids_K.tolist() == [2, 3]


def test_pictures_without_a_value_are_followed_by_id() -> None:
    page = Matches(np.array([4, 9]), np.array([0.5, np.nan], np.float32), "exact", 3)
    cursor = following(first_cursor(), Cut(page, is_last=False), {})
    assert cursor is not None
    assert (cursor.score, cursor.ties, cursor.shown) == (None, (9,), 2)
    assert Cursor.decode(cursor.encode()).place == cursor.place


def forged(**changes: object) -> str:
    """A cursor whose fields somebody has changed; `score` is its fourth."""
    fields = json.loads(base64.urlsafe_b64decode(first_cursor().encode() + "=="))
    for place, value in zip(changes, changes.values(), strict=True):
        fields[int(place.removeprefix("at"))] = value
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"at1": []},
        {"at1": [-1, 2, 3]},
        {"at1": [1, 2**63]},
        {"at2": -1},
        {"at3": float("inf")},
        {"at3": float("nan")},
        {"at5": {"warm": [1.0, float("inf")]}},
        {"at6": {"warm": [float("nan"), None]}},
        {"at8": [[1, 0]]},
        {"at8": [[-1, 1]]},
    ],
)
def test_a_forged_cursor_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidCursorError):
        Cursor.decode(forged(**changes))
