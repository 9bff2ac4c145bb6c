"""Ranks and recall against a few lines of plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.retrieval import ranks, recall


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=6))
def test_a_rank_counts_the_wrong_pictures_that_are_as_good(rows: list[list[int]]) -> None:
    score_QN = np.array(rows, np.float32)
    right = [[q % 4, (q + 1) % 4] for q in range(len(rows))]
    expected = []
    for row, own in zip(rows, right, strict=True):
        best = max(row[n] for n in own)
        expected.append(1 + sum(score >= best for n, score in enumerate(row) if n not in own))
    assert ranks(score_QN, right).tolist() == expected


def test_pictures_with_one_caption_are_one_answer() -> None:
    captions = ["cat", "dog", "cat", None]
    score_QN = np.array([[0.1, 0.5, 0.9, 0.2], [0.9, 0.5, 0.1, 0.8], [0.1, 0.5, 0.9, 0.2]], np.float32)
    found = recall(score_QN, ["cat", "dog", "cat"], captions)
    assert (found.queries, found.pictures) == (3, 4)
    assert found.at_1 == pytest.approx(200 / 3)  # "dog" stands third
    assert found.at_5 == 100.0
    assert found.median_rank == 1.0
