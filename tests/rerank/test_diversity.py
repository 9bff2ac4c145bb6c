"""Vendi scores against the published figures, choices against greedy search written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float64
from numpy import ndarray

from indexer.errors import InvalidInputError
from rerank.diversity import (
    LEAST_QUALITY,
    collapse,
    embedding_kernel,
    marginal_relevance,
    metadata_kernel,
    most_diverse,
    qualities,
    vendi_score,
)
from tests.support.pictures import unit_vectors

MEALS = {
    "continent": ["asia", "asia", "asia", "europe"],
    "country": ["japan", "japan", "india", "italy"],
    "dish": ["sushi", "ramen", "dosa", "pizza"],
}


def labels_kernel(labels: str) -> Float64[ndarray, "n n"]:
    return metadata_kernel({"label": list(labels)}, {"label": 1.0})


def kernels() -> st.SearchStrategy[Float64[ndarray, "n n"]]:
    """Of pictures that look alike in groups, some of them the same."""
    return st.builds(
        lambda n, seed, copies: embedding_kernel(
            np.concatenate([unit_vectors(n, 6, seed=seed), unit_vectors(n, 6, seed=seed)[:copies]])
        ),
        st.integers(1, 8),
        st.integers(0, 1000),
        st.integers(0, 3),
    )


@pytest.mark.parametrize(("labels", "expected"), [("AABC", 2.828427), ("ABCDEFGH", 8.0), ("AAAAAAAA", 1.0)])
def test_labels_score_as_published(labels: str, expected: float) -> None:
    assert vendi_score(labels_kernel(labels)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1, 0, 0), 1.754765),
        ((0, 1, 0), 2.828427),
        ((0, 0, 1), 4.0),
        ((1, 1, 1), 3.392072),  # weights are brought to a sum of 1
        ((0.5, 0.5, 0), 2.583423),
    ],
)
def test_weighted_fields_score_as_published(weights: tuple[float, ...], expected: float) -> None:
    kernel_NN = metadata_kernel(MEALS, dict(zip(MEALS, weights, strict=True)))
    assert vendi_score(kernel_NN) == pytest.approx(expected, abs=1e-6)


def test_qualities_weigh_as_in_the_reference_implementation() -> None:
    value_N = np.array([0.0, 0.0, 2.0])
    kernel_NN = np.exp(-np.abs(value_N[:, None] - value_N[None, :]))
    quality_N = np.exp(-np.abs(value_N - 2.0))
    assert vendi_score(kernel_NN, quality_N=quality_N) == pytest.approx(0.793705659274703, abs=1e-12)


@pytest.mark.parametrize(
    ("order", "expected"),
    # AABC has eigenvalues 1/2, 1/4, 1/4.
    [
        (0.5, (math.sqrt(1 / 2) + 2 * math.sqrt(1 / 4)) ** 2),
        (2.0, 1 / (1 / 4 + 2 / 16)),
        (3.0, (1 / 8 + 2 / 64) ** (1 / (1 - 3))),
        (math.inf, 2.0),
    ],
)
def test_order_is_honoured(order: float, expected: float) -> None:
    assert vendi_score(labels_kernel("AABC"), order) == pytest.approx(expected)


@given(kernels(), st.sampled_from([0.5, 1.0, 2.0, math.inf]))
def test_a_score_lies_between_one_and_the_number_of_pictures(kernel_NN: ndarray, order: float) -> None:
    assert 1.0 - 1e-6 <= vendi_score(kernel_NN, order) <= len(kernel_NN) + 1e-6


@given(kernels(), st.integers(0, 99))
def test_order_of_pictures_does_not_matter(kernel_NN: ndarray, seed: int) -> None:
    place = np.random.default_rng(seed).permutation(len(kernel_NN))
    shuffled = kernel_NN[np.ix_(place, place)]
    assert vendi_score(shuffled) == pytest.approx(vendi_score(kernel_NN), abs=1e-6)


@given(kernels(), st.integers(2, 3))
def test_copies_of_everything_change_nothing(kernel_NN: ndarray, times: int) -> None:
    assert vendi_score(np.tile(kernel_NN, (times, times))) == pytest.approx(vendi_score(kernel_NN), abs=1e-6)


@given(st.text("ABCD", min_size=1, max_size=12))
def test_copies_cannot_raise_a_score_above_the_number_of_different_pictures(labels: str) -> None:
    assert vendi_score(labels_kernel(labels)) <= len(set(labels)) + 1e-9


@given(kernels(), st.integers(1, 12), st.integers(0, 99))
def test_greedy_choice_is_that_of_plain_greedy_search(kernel_NN: ndarray, k: int, seed: int) -> None:
    n = len(kernel_NN)
    quality_N = qualities(np.sort(np.random.default_rng(seed).random(n))[::-1])
    chosen: list[int] = []
    while len(chosen) < min(k, n):
        scores = {}
        for i in set(range(n)) - set(chosen):
            some = [*chosen, i]
            scores[i] = quality_N[some].mean() * vendi_score(kernel_NN[np.ix_(some, some)])
        best = max(scores.values())
        chosen.append(min(i for i, score in scores.items() if score >= best - 1e-9))
    assert most_diverse(quality_N, kernel_NN, k).tolist() == chosen


def test_diverse_choice_takes_one_of_each_before_a_second() -> None:
    equal_N = np.ones(6)
    assert most_diverse(equal_N, labels_kernel("AAABBC"), 3).tolist() == [0, 3, 5]


@given(kernels(), st.integers(1, 12), st.integers(0, 99))
def test_marginal_relevance_that_asks_only_for_score_is_the_plain_order(
    kernel_NN: ndarray, k: int, seed: int
) -> None:
    score_N = np.sort(np.random.default_rng(seed).random(len(kernel_NN)))[::-1]
    assert marginal_relevance(score_N, kernel_NN, k, trade=1.0).tolist() == list(range(min(k, len(score_N))))


@given(kernels(), st.floats(0, 1), st.integers(0, 99))
def test_marginal_relevance_is_its_formula(kernel_NN: ndarray, trade: float, seed: int) -> None:
    n = len(kernel_NN)
    score_N = np.sort(np.random.default_rng(seed).random(n))[::-1]
    value_N = (score_N - score_N.min()) / np.ptp(score_N) if n > 1 else np.ones(1)
    chosen = marginal_relevance(score_N, kernel_NN, n, trade=trade).tolist()
    assert sorted(chosen) == list(range(n))
    for step, place in enumerate(chosen):
        gains = {
            i: trade * value_N[i] - (1 - trade) * max([0.0, *kernel_NN[i, chosen[:step]]])
            for i in chosen[step:]
        }
        assert gains[place] == pytest.approx(max(gains.values()), abs=1e-9)


def test_near_duplicates_stand_behind_the_best_placed() -> None:
    a, b, c = np.eye(3, dtype=np.float32)
    close_to_a = np.array([0.99, math.sqrt(1 - 0.99**2), 0.0], np.float32)
    found = collapse(np.stack([a, b, close_to_a, c, b]), [None] * 5)
    assert found.kept_K.tolist() == [0, 1, 3]
    assert found.count_K.tolist() == [2, 2, 1]


def test_a_hash_alone_is_enough_and_a_missing_one_says_nothing() -> None:
    vectors_ND = np.eye(5, dtype=np.float32)
    near, far = f"{0b111111:016x}", f"{0b1111111:016x}"  # six and seven bits away from zero
    found = collapse(vectors_ND, ["0" * 16, near, far, None, None])
    assert found.kept_K.tolist() == [0, 2, 3, 4]
    assert found.count_K.tolist() == [2, 1, 1, 1]


def test_a_chain_of_likenesses_is_not_one_picture() -> None:
    step = math.acos(0.96)
    angles = step * np.arange(3)
    vectors_ND = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert collapse(vectors_ND, [None] * 3, cosine=0.95).kept_K.tolist() == [0, 2]


def test_a_picture_without_the_field_is_like_no_other() -> None:
    kernel_NN = metadata_kernel({"country": ["Japan", " japan", None, None]}, {"country": 1.0})
    assert kernel_NN.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert metadata_kernel({"n": [1, True, "1"]}, {"n": 1.0}).tolist() == np.eye(3).tolist()


def test_qualities_keep_the_order_and_stay_above_zero() -> None:
    assert qualities(np.array([3.0, 2.0, -1.0])).tolist() == pytest.approx(
        [1.0, LEAST_QUALITY + (1 - LEAST_QUALITY) * 0.75, LEAST_QUALITY]
    )
    assert qualities(np.array([2.0, 2.0])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("text", ["12", "x" * 16, "-" + "1" * 15, ""])
def test_a_wrong_hash_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="16 hexadecimal digits"):
        collapse(np.eye(1, dtype=np.float32), [text])


def test_wrong_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="diagonal"):
        vendi_score(2 * np.eye(2))
    with pytest.raises(InvalidInputError, match="symmetric"):
        vendi_score(np.array([[1.0, 0.5], [0.2, 1.0]]))
    with pytest.raises(InvalidInputError, match="order -1"):
        vendi_score(np.eye(2), -1.0)
    with pytest.raises(InvalidInputError, match="weights"):
        metadata_kernel(MEALS, {"dish": -1.0})
    with pytest.raises(InvalidInputError, match="trade 2"):
        marginal_relevance(np.ones(1), np.eye(1), 1, trade=2.0)
    with pytest.raises(InvalidInputError, match="not finite"):
        qualities(np.array([1.0, np.nan]))


@pytest.mark.parametrize("order", [0.0, -0.0, math.nan])
def test_an_order_that_only_rounding_would_answer_is_refused(order: float) -> None:
    with pytest.raises(InvalidInputError, match=r"expected a number above 0"):
        vendi_score(np.eye(2), order)


@pytest.mark.parametrize("order", [0.05, 0.5])
def test_rounding_is_no_difference(order: float) -> None:
    """Eight different rows, each a hundred times: of 800 eigenvalues 792 are zero but for rounding."""
    rows_ND = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    few_NN = embedding_kernel(rows_ND)
    many_NN = embedding_kernel(np.tile(rows_ND, (100, 1)))
    assert vendi_score(many_NN, order) == pytest.approx(vendi_score(few_NN, order), rel=1e-6)


@pytest.mark.parametrize("kernel", [np.ones((2, 3)), np.array([[1, np.nan], [np.nan, 1]])])
def test_matrices_that_are_no_kernel_are_refused(kernel: ndarray) -> None:
    with pytest.raises(InvalidInputError, match="expected a square, symmetric, finite matrix"):
        vendi_score(kernel)


def test_nothing_stays_nothing() -> None:
    none = np.empty((0, 0))
    assert vendi_score(none) == 0.0
    assert most_diverse(np.empty(0), none, 3).tolist() == []
    assert marginal_relevance(np.empty(0), none, 3, trade=0.5).tolist() == []
    assert collapse(np.empty((0, 4), np.float32), []).kept_K.tolist() == []
