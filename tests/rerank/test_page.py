"""Pages of an ordered list, put together, are the list."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rerank.cursor import Cursor
from rerank.page import Page, Scored, best

SCORES = st.lists(st.sampled_from([0.5, 0.25, -1.0, 0.1, float("nan")]), max_size=30)


def scored(scores: list[float]) -> Scored:
    return Scored(np.array(scores, np.float32), np.arange(len(scores), dtype=np.int64))


def reference(scores: list[float], ascending: bool) -> list[int]:
    known = [i for i, s in enumerate(scores) if s == s]
    unknown = [i for i, s in enumerate(scores) if s != s]
    return sorted(known, key=lambda i: (scores[i] if ascending else -scores[i], i)) + unknown


@given(SCORES, st.integers(1, 40), st.booleans())
def test_best_is_a_stable_sort_with_the_unknown_last(scores: list[float], k: int, ascending: bool) -> None:
    assert best(scored(scores), k, ascending=ascending).slots_K.tolist() == reference(scores, ascending)[:k]


@given(SCORES, st.integers(1, 7), st.booleans())
def test_pages_put_together_are_the_whole_list(scores: list[float], limit: int, ascending: bool) -> None:
    cursor: Cursor | None = Cursor("f", len(scores), 0, None, (), {})
    seen: list[int] = []
    while cursor is not None:
        page = Page(Cursor.decode(cursor.encode(), fingerprint="f"), limit)
        ordered = best(scored(scores), page.wanted, ascending=ascending)
        part, cursor = page.cut(ordered, {}, deepest=None, ascending=ascending)
        assert len(part.slots_K) <= limit
        seen += part.slots_K.tolist()
    assert seen == reference(scores, ascending)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30), st.integers(1, 5), st.randoms())
def test_pages_stay_true_when_equal_scores_swap_places_in_the_last_bit(
    scores: list[float],
    limit: int,
    random: Random,
) -> None:
    rounded = [round(score, 2) for score in scores]
    cursor: Cursor | None = Cursor("f", len(scores), 0, None, (), {})
    seen: list[int] = []
    while cursor is not None:
        noisy = [score + random.choice([-1e-7, 0.0, 1e-7]) for score in rounded]
        page = Page(cursor, limit)
        # A computation in other batches may order equals differently: all of them are offered again.
        part, cursor = page.cut(best(scored(noisy), len(noisy)), {}, deepest=None)
        seen += part.slots_K.tolist()
    assert sorted(seen) == list(range(len(scores)))
    assert [rounded[i] for i in seen] == sorted(rounded, reverse=True)
