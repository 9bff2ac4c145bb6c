"""The pieces of the builtin encoder's recipe."""

from pathlib import Path

import numpy as np
import pytest

from indexer.encoders.builtin import TEXT_DIM
from rerank.retrieval import recall
from tests.support.files import encoded, noise
from training.encoder import fit
from training.encoder.evaluate import HELD_OUT, _split
from training.encoder.fit import Seen
from training.encoder.materials import Captioned, _clipart_captions, stamps
from training.encoder.spoil import age_photo, degrade

pytestmark = pytest.mark.slow


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_the_head_learns_what_the_class_scores_miss() -> None:
    """Texts are a linear map of the features; the base only guesses. The head must find held-out pictures."""
    rng = np.random.default_rng(0)
    n, n_features = 900, 40
    feature_NF = rng.standard_normal((n, n_features)).astype(np.float32)
    text_NT = unit(feature_NF @ rng.standard_normal((n_features, TEXT_DIM)))
    base_NT = unit(text_NT + 12 * unit(rng.standard_normal((n, TEXT_DIM))))
    seen, held = np.arange(600), np.arange(600, n)
    weight_TH, bias_T = fit._fit_head(feature_NF[seen], base_NT[seen], text_NT[seen], seen, seed=0)
    captions = [str(i) for i in held]

    def at_1(image_NT: np.ndarray) -> float:
        return recall(text_NT[held] @ image_NT.T, captions, captions).at_1

    learned_NT = unit(feature_NF[held] @ weight_TH.T + bias_T + base_NT[held])
    assert at_1(learned_NT) > at_1(base_NT[held]) + 20


def test_an_axis_from_pairs_ignores_what_the_pictures_show() -> None:
    rng = np.random.default_rng(1)
    content_ND = rng.standard_normal((400, 32)).astype(np.float32)
    attribute_D = unit(rng.standard_normal((1, 32)))[0]
    noise_ND = 0.1 * rng.standard_normal((400, 32)).astype(np.float32)
    direction_D, accuracy = fit._paired(content_ND + attribute_D + noise_ND, content_ND)
    assert float(direction_D @ attribute_D) > 0.95
    assert accuracy > 0.95


@pytest.mark.parametrize("spoil", [degrade, age_photo])
def test_spoilt_pictures_keep_their_shape_and_are_repeatable(spoil: object) -> None:
    picture = np.asarray(noise(0, (90, 60)))
    first, second = (spoil(picture, np.random.default_rng(3)) for _ in range(2))  # type: ignore[operator]
    assert first.shape == picture.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, picture)


def test_captions_of_clip_art_are_cleaned() -> None:
    keywords = "".join(f"<rdf:li>{word}</rdf:li>" for word in ("unsorted", "Wheel", "ride"))
    svg = f"<dc:title>Red_Bicycle by Ann</dc:title>{keywords}"
    assert list(_clipart_captions(svg)) == ["red bicycle", "wheel, ride", "red bicycle: wheel, ride"]


def test_stamps_are_pictures_with_a_first_line(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(encoded(noise(1)))
    (tmp_path / "a.txt").write_text("A crane.\nde.utf8=Ein Kranich.\n")
    (tmp_path / "b.txt").write_text("\n")
    assert stamps(tmp_path) == [Captioned(tmp_path / "a.png", ("A crane.",))]


def test_a_caption_stays_on_one_side_of_the_split() -> None:
    captions = [(f"caption {i // 2}",) for i in range(2 * HELD_OUT)]
    nothing = np.zeros((len(captions), 1), np.float32)
    train, test = _split(Seen(nothing, nothing, captions), seed=5)
    assert len(test) == HELD_OUT
    assert sorted(train + test) == list(range(len(captions)))
    assert len({captions[i] for i in train} & {captions[i] for i in test}) <= 1  # the one at the cut
