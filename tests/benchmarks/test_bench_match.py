"""The benchmark of match models does not let what teaches test."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from benchmarks.levels import RememberedTexts, levelled
from benchmarks.match import best_balanced_accuracy
from benchmarks.match_trial import ALIKE, PRESENT, REMOVED, Material, run_trial
from tests.support.concepts import ConceptEncoder, caption, picture_vectors
from tests.support.pictures import unit_vectors

ENCODER = ConceptEncoder()


@pytest.fixture(scope="module")
def material() -> Material:
    things = [*range(110), *range(10)]  # ten of them twice
    return Material.of(picture_vectors(things), [caption(n) for n in things], ENCODER.encode_texts)


def test_pictures_with_one_caption_are_one_group(material: Material) -> None:
    assert np.array_equal(material.group_N[110:], material.group_N[:10])
    alike_NN = material.vectors_ND @ material.vectors_ND.T >= ALIKE
    captions_N = np.array(material.captions)
    groups, _ = connected_components(alike_NN | (captions_N[:, None] == captions_N[None, :]))
    assert len(np.unique(material.group_N)) == groups


def test_a_query_is_asked_with_its_pictures_and_without(material: Material) -> None:
    trial = run_trial(material, ENCODER.encode_texts, 120, np.random.default_rng(0))
    kinds = np.array(trial.kinds)
    present, removed = kinds == PRESENT, kinds == REMOVED
    assert present.sum() == removed.sum() > 40
    assert trial.tests.held_Q[present].all()
    assert not trial.tests.held_Q[~present].any()
    assert not trial.tests.shown_Q[~present].any()
    assert trial.tests.shown_Q[present].sum() > 0
    # Of the pictures six in ten teach; each of their captions once with and once without.
    taught = len(trial.taught.shown_Q) / 2
    assert taught + len(np.unique(trial.group_Q[present])) <= 110
    score = trial.tests.evidence_QF[:, 0]
    assert (score[removed] <= score[present]).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20))
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[int, bool]]) -> None:
    p_N = np.array([float(score) for score, _ in rows])
    true_N = np.array([true for _, true in rows])

    def accuracy(threshold: float) -> float:
        hit = (p_N[true_N] >= threshold).mean() if true_N.any() else 0.0
        alarm = (p_N[~true_N] >= threshold).mean() if (~true_N).any() else 0.0
        return float((1 + hit - alarm) / 2)

    assert best_balanced_accuracy(p_N, true_N) == pytest.approx(max(accuracy(t) for t in range(7)))


def test_simulated_levels_keep_length_and_are_always_the_same() -> None:
    vectors_ND = unit_vectors(20, 12)
    found_ND = levelled(vectors_ND)
    assert np.linalg.norm(found_ND, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(found_ND[7], levelled(vectors_ND[7:8])[0])
    assert found_ND[:, -1].std() > 0.1


def test_a_text_is_encoded_once() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return ENCODER.encode_texts(texts)

    remembered = RememberedTexts(encode)
    assert np.array_equal(remembered(["thing 1", "thing 2", "thing 1"])[0], remembered(["thing 1"])[0])
    assert asked == ["thing 1", "thing 2"]
