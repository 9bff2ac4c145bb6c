"""Evidence by hand, null distributions against SciPy, and models that learn from a collection."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gumbel_r

from indexer.collection.collection import Collection
from indexer.errors import CorruptStoreError, InvalidInputError
from indexer.types import ImageId
from indexer.where import EVERYTHING, Ids, Not
from rerank.axes.statistics import Moments, Spread
from rerank.match.evidence import FEATURES, HITS, BackgroundQueries, evidence
from rerank.match.file import load_model, save_model
from rerank.match.fit import (
    Examples,
    fits,
    from_examples,
    learn,
    pseudo_queries,
    sample_captions,
    without,
    words_of,
)
from rerank.match.model import FromCaptions, Gumbel, Match, MatchModel, posterior_from_p_value
from rerank.match.phrases import PHRASES
from rerank.match.reliability import auroc
from tests.support.concepts import ConceptEncoder, caption, collection_of
from tests.support.pictures import new_image, unit_vectors

THINGS = range(300)
ENCODER = ConceptEncoder()


def model_of(collection: Collection) -> MatchModel:
    snapshot = collection.snapshot()
    moments = Moments.of(snapshot.sample(10_000).vectors_ND)
    return learn(snapshot, ENCODER.encode_texts, moments, np.random.default_rng(0))


def judged(
    model: MatchModel, collection: Collection, text: str, *, without_thing: int | None = None
) -> tuple[Match, float]:
    """What `model` says of `text`, over a copy of the answer that the collection itself would give."""
    snapshot = collection.snapshot()
    query_D = ENCODER.encode_texts([text])[0]
    out = EVERYTHING if without_thing is None else Not(Ids((ImageId(1 + without_thing),)))
    matches = snapshot.nearest(query_D, HITS, out)
    vectors_KD = snapshot.vectors(matches.ids_K)
    match = model.judge(
        query_D, matches.scores_K, vectors_KD, Moments.of(snapshot.sample(10_000).vectors_ND).along(query_D)
    )
    assert match is not None
    return match, float(matches.scores_K[0])


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return collection_of(tmp_path_factory.mktemp("match"), THINGS)


@pytest.fixture(scope="module")
def model(collection: Collection) -> MatchModel:
    return model_of(collection)


def test_evidence_is_what_its_names_say() -> None:
    vectors_ND = unit_vectors(60, 8, seed=3)
    query_D, vectors_KD = vectors_ND[0], vectors_ND[1 : 1 + HITS]
    order = np.argsort(-(vectors_KD @ query_D))
    vectors_KD = vectors_KD[order]
    score = [float(x @ query_D) for x in vectors_KD]
    phrases_BD = np.concatenate([unit_vectors(30, 8, seed=9), query_D[None]])  # the last one is the query
    rivals = phrases_BD[phrases_BD @ query_D < 0.9]
    assert len(rivals) < len(phrases_BD)
    expected = {
        "score": score[0],
        "z": (score[0] - 0.1) / 0.2,
        "cross_query_z": max(
            (s - (rivals @ x).mean()) / (rivals @ x).std() for s, x in zip(score, vectors_KD, strict=True)
        ),
        "margin": max(s - (rivals @ x).max() for s, x in zip(score, vectors_KD, strict=True)),
    }
    found = evidence(
        query_D, np.array(score, np.float32), vectors_KD, Spread(0.1, 0.2), BackgroundQueries(phrases_BD, 0.9)
    )
    assert dict(zip(FEATURES, found.tolist(), strict=True)) == pytest.approx(expected, abs=1e-4)


@given(st.floats(-3, 12))
def test_the_tail_is_that_of_a_gumbel_distribution(x: float) -> None:
    assert Gumbel(2.0, 0.7).tail(x) == pytest.approx(gumbel_r.sf(x, loc=2.0, scale=0.7), rel=1e-9, abs=1e-12)


def test_moments_recover_a_gumbel_distribution() -> None:
    found = Gumbel.of(gumbel_r.rvs(loc=2.0, scale=0.7, size=20_000, random_state=1))
    assert (found.mode, found.scale) == pytest.approx((2.0, 0.7), abs=0.02)


@given(st.floats(0, 1), st.floats(0, 1))
def test_surprise_falls_with_the_p_value(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0.0 <= posterior_from_p_value(high) <= posterior_from_p_value(low) <= 1.0


def test_surprise_is_the_bound_on_the_bayes_factor() -> None:
    bound = -math.e * 0.01 * math.log(0.01)
    posterior = 1 / (1 + bound)  # at even odds, of anything but chance
    assert posterior_from_p_value(0.01) == pytest.approx(2 * posterior - 1)
    assert posterior_from_p_value(0.5) == 0.0


@given(st.integers(0, 200), st.integers(1, 5))
def test_a_spread_without_some_scores_is_that_of_the_others(seed: int, some: int) -> None:
    score_N = np.random.default_rng(seed).standard_normal(30).astype(np.float32)
    found = without(Spread(float(score_N.mean()), float(score_N.std())), score_N[:some], 30)
    rest = score_N[some:]
    assert (found.mean, found.std) == pytest.approx((float(rest.mean()), float(rest.std())), abs=1e-5)


def test_captions_fit_when_one_says_all_that_the_other_says() -> None:
    asked = words_of("A red bicycle.")
    assert fits(asked, "the RED bicycle")
    assert fits(asked, "A red bicycle by the sea")
    assert fits(asked, "bicycle")
    assert not fits(asked, "a red car")
    assert not fits(asked, None)
    assert not fits(asked, "...")


def test_captions_are_taken_once_each(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, range(5))
    twice = [new_image("again", caption="Thing 3!"), new_image("silent"), new_image("odd", caption=7)]
    collection.add(twice, unit_vectors(3, ENCODER.dim))
    assert sample_captions(collection.snapshot()).captions == [caption(n) for n in range(5)]


def test_pseudo_queries_lie_where_the_phrases_do() -> None:
    background = BackgroundQueries.of(ENCODER.encode_texts(PHRASES))
    found_QD = pseudo_queries(background, np.random.default_rng(0))
    assert np.linalg.norm(found_QD, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert found_QD.mean(axis=0) == pytest.approx(background.vectors_BD.mean(axis=0), abs=0.1)
    assert (found_QD @ background.vectors_BD.T).max() < 0.999  # none of them is one


def test_a_model_from_captions_tells_present_from_absent_where_a_threshold_cannot(
    collection: Collection, model: MatchModel
) -> None:
    """Asked in other words than it was taught, and for things that it was never taught."""
    assert model.basis == "captions"
    present = [judged(model, collection, f"my own thing {n}") for n in range(0, 300, 3)]
    absent = [judged(model, collection, f"my own thing {n}") for n in range(1000, 1100)]
    said_N = np.array([match.probability for match, _ in present + absent])
    score_N = np.array([score for _, score in present + absent])
    true_N = np.arange(200) < 100
    assert auroc(said_N, true_N) > auroc(score_N, true_N) + 0.15
    assert auroc(said_N, true_N) > 0.85


def test_held_counts_what_the_first_hits_missed() -> None:
    """Of six searches that showed nothing that fits, the collection held a picture for three."""
    shown_Q = np.array([True] * 4 + [False] * 6)
    held_Q = np.array([True] * 7 + [False] * 3)
    evidence_QF = np.random.default_rng(0).standard_normal((10, len(FEATURES))) + shown_Q[:, None]
    taught = from_examples(
        BackgroundQueries.of(ENCODER.encode_texts(PHRASES)), Examples(evidence_QF, shown_Q, held_Q)
    )
    assert taught is not None
    assert isinstance(taught.rule, FromCaptions)
    assert taught.rule.missed == 3 / 6
    assert taught.learned_from == 7
    match = taught.rule.judge(evidence_QF[0])
    assert match.held == pytest.approx(match.probability + (1 - match.probability) / 2)


def test_what_is_shown_is_held(collection: Collection, model: MatchModel) -> None:
    for n in (1, 2, 5000):
        match, _ = judged(model, collection, f"some thing {n}")
        assert match.held is not None
        assert 0.0 <= match.probability <= match.held <= 1.0


def test_without_captions_the_background_teaches(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, THINGS, captioned=False)
    model = model_of(collection)
    assert model.basis == "background"
    present = [judged(model, collection, f"my own thing {n}")[0] for n in range(0, 300, 3)]
    absent = [judged(model, collection, f"my own thing {n}")[0] for n in range(1000, 1100)]
    assert all(match.held is None for match in present)
    assert np.mean([match.probability > 0.5 for match in absent]) < 0.1
    assert np.mean([match.probability > 0.5 for match in present]) > 0.25


def test_few_hits_are_not_judged(model: MatchModel) -> None:
    vectors_KD = unit_vectors(HITS - 1, ENCODER.dim)
    assert model.judge(vectors_KD[0], vectors_KD @ vectors_KD[0], vectors_KD, Spread(0.0, 1.0)) is None


def test_few_pictures_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="49 pictures"):
        model_of(collection_of(tmp_path, range(49)))


@pytest.mark.parametrize("captioned", [True, False])
def test_a_model_comes_back_from_its_file(tmp_path: Path, captioned: bool) -> None:
    collection = collection_of(tmp_path / "data", range(120), captioned=captioned)
    before = model_of(collection)
    save_model(tmp_path / "match.safetensors", before, {"model_id": "m"})
    after, about = load_model(tmp_path / "match.safetensors")
    assert about["model_id"] == "m"
    assert after.learned_from == before.learned_from
    for text in ("thing 5", "thing 900"):
        assert judged(after, collection, text) == judged(before, collection, text)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "match.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(CorruptStoreError, match=r"match\.safetensors"):
        load_model(path)
