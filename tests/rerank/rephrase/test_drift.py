"""The bound between an addition that means the query and one that means another."""

import functools

import numpy as np

from indexer.encoders.registry import load_encoder
from indexer.protocols import Encoder
from rerank.calibration_queries import CALIBRATION_QUERIES, PLACES, SUBJECTS, unrelated_pairs
from rerank.rephrase.drift import QUANTILE, DriftGuard, drift_bound
from tests.support.additions import ADDITIONS


@functools.cache
def encoder() -> Encoder:
    return load_encoder("builtin", threads=1)


@functools.cache
def guard() -> DriftGuard:
    return DriftGuard(encoder())


def test_unrelated_phrases_share_neither_subject_nor_place() -> None:
    pairs = unrelated_pairs()
    expected = len(CALIBRATION_QUERIES) * (len(SUBJECTS) - 1) * (len(PLACES) - 1) // 2
    assert len(pairs) == len(set(pairs)) == expected
    for first, second in pairs:
        a, b = CALIBRATION_QUERIES[first], CALIBRATION_QUERIES[second]
        assert not any(part and part in a and part in b for part in (*SUBJECTS, *PLACES))


def test_the_bound_is_the_quantile_of_the_likeness_of_pairs() -> None:
    vectors_ND = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    pairs = [(1, 0), (3, 2), (5, 4), (5, 0)]
    likeness = sorted(float(vectors_ND[a] @ vectors_ND[b]) for a, b in pairs)
    assert np.isclose(drift_bound(vectors_ND, pairs, 1.0), likeness[-1])
    assert np.isclose(drift_bound(vectors_ND, pairs, 0.5), (likeness[1] + likeness[2]) / 2)


def test_on_the_builtin_encoder_own_additions_pass_and_those_of_other_queries_do_not() -> None:
    queries, kinds = list(ADDITIONS), ("detail", "k_list")
    for kind in kinds:
        texts = [ADDITIONS[query][kind] for query in queries]
        likeness = encoder().encode_texts(queries) @ encoder().encode_texts(texts).T
        assert np.isclose(guard().similarity(queries[0], texts[1]), likeness[0, 1], atol=1e-5)
        is_own = np.eye(len(queries), dtype=bool)
        assert (likeness[is_own] >= guard().bound).all()
        # The bound is made to let 1 % of unrelated pairs pass; some of these queries are related.
        assert (likeness[~is_own] >= guard().bound).mean() <= 2 * (1 - QUANTILE)
