"""The pieces of the builtin encoder's recipe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.encoders.builtin import FOLDER, TEXT_DIM, Backbone, BuiltinEncoder
from indexer.sources.captioned import Captioned
from rerank.retrieval import recall
from tests.support.files import encoded, noise
from training.encoder.axes import between
from training.encoder.evaluate import HELD_OUT, _split
from training.encoder.layers import Examples, Layers, Network, _batch, _said, fit_layers
from training.encoder.materials import _clipart_captions
from training.encoder.recipe import BATCH, BUILTIN_1, BUILTIN_2, Recipe
from training.encoder.spoil import age_photo, degrade
from training.encoder.views import Seen, crop, look, read_pixels

pytestmark = pytest.mark.slow


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("recipe", [BUILTIN_1, BUILTIN_2])
def test_the_head_learns_what_the_class_scores_miss(recipe: Recipe) -> None:
    """Texts are a linear map of the features; the base only guesses. The head must find held-out pictures."""
    rng = np.random.default_rng(0)
    n, n_features = 900, 40
    feature_NF = rng.standard_normal((n, n_features)).astype(np.float32)
    text_NT = unit(feature_NF @ rng.standard_normal((n_features, TEXT_DIM)))
    base_NT = unit(text_NT + 12 * unit(rng.standard_normal((n, TEXT_DIM))))
    seen, held = np.arange(600), np.arange(600, n)
    small = replace(recipe, steps=300, n_hidden=min(recipe.n_hidden, 64))
    examples = Examples(feature_NF[seen, None], base_NT[seen, None], seen % 2 == 0, text_NT[seen], seen)
    layers = fit_layers(examples, small, seed=0)
    captions = [str(i) for i in held]

    def at_1(image_NT: np.ndarray) -> float:
        return recall(text_NT[held] @ image_NT.T, captions, captions).at_1

    learned_NT = unit(said_by(layers, feature_NF[held]) + base_NT[held])
    assert at_1(learned_NT) > at_1(base_NT[held]) + 20
    assert len(layers.hidden_KH) == small.n_hidden


def said_by(layers: Layers, feature_NF: np.ndarray) -> np.ndarray:
    """Written out: the linear map, and the hidden units beside it."""
    x = torch.from_numpy(feature_NF @ layers.hidden_KH.T + layers.hidden_bias_K)
    hidden_NK = torch.nn.functional.gelu(x, approximate="tanh").numpy()
    return feature_NF @ layers.weight_TH.T + layers.bias_T + hidden_NK @ layers.output_TK.T


def test_the_layers_that_are_kept_say_what_the_network_said() -> None:
    """Training leaves them as it left the network: what dropout would hide is all there."""
    torch.manual_seed(3)
    network = Network(5, 4, 3).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight)
    feature_NF = np.random.default_rng(4).standard_normal((7, 5)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(feature_NF)).numpy()
    np.testing.assert_allclose(said_by(network.layers(), feature_NF), expected, atol=1e-4)


def test_a_batch_has_its_share_of_photographs_as_far_as_there_are_any() -> None:
    rng = np.random.default_rng(0)

    def share(n_photographs: int, n_drawings: int, asked: float | None) -> float:
        is_photograph_N = rng.permutation(np.arange(n_photographs + n_drawings) < n_photographs)
        chosen = _batch(is_photograph_N, asked, rng)
        assert len(set(chosen.tolist())) == BATCH
        return float(is_photograph_N[chosen].mean())

    assert share(1000, 1000, 0.25) == 0.25
    assert share(48, 1000, 0.25) == 48 / BATCH
    assert share(1000, BATCH // 2, 0.25) == 0.5
    assert abs(share(3000, 1000, None) - 0.75) < 0.15


def test_what_is_said_of_a_picture_is_one_of_its_captions_or_lies_between_them() -> None:
    rng = np.random.default_rng(0)
    text_QT = np.eye(3, dtype=np.float32)[:2]
    assert {tuple(_said(text_QT, mixes=False, rng=rng)) for _ in range(30)} == {(1, 0, 0), (0, 1, 0)}
    mixed = np.stack([_said(text_QT, mixes=True, rng=rng) for _ in range(200)])
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-6)
    assert not mixed[:, 2].any()
    assert (mixed > -1e-7).all()
    assert ((mixed[:, 0] > 0.9).sum(), (mixed[:, 1] > 0.9).sum()) > (20, 20)


def test_a_crop_is_a_part_of_the_picture_that_keeps_most_of_each_side() -> None:
    rows, columns = np.mgrid[:40, :60]
    picture = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    rng, sides, mirrored = np.random.default_rng(0), [], set()
    for _ in range(50):
        part = crop(picture, rng)
        sides.append((part.shape[0] / 40, part.shape[1] / 60))
        mirrored.add(bool(part[0, 0, 1] > part[0, -1, 1]))
        first, last = part[0, :, 1].min(), part[0, :, 1].max()
        top, bottom = part[0, 0, 0], part[-1, 0, 0]
        inside = picture[top : bottom + 1, first : last + 1]
        assert np.array_equal(part, inside) or np.array_equal(part, inside[:, ::-1])
    assert mirrored == {True, False}
    assert 0.58 <= np.min(sides) < 0.7 < 0.85 < np.max(sides) <= 0.97
    assert crop(picture[:1, :1], rng).shape == (1, 1, 3)


def test_views_of_a_picture_stay_with_its_captions(tmp_path: Path) -> None:
    """The first view is the picture as it is, whatever is seen beside it."""
    shown = [Captioned(tmp_path / f"{i}.png", (f"picture {i}",)) for i in range(3)]
    for i, picture in enumerate(shown):
        picture.path.write_bytes(encoded(noise(i, (48, 40))))
    encoder, backbone = BuiltinEncoder(threads=1), Backbone(FOLDER, 1)
    seen = look(encoder, backbone, shown, n_crops=2)
    alone, scores = backbone.run([encoder.prepare(pixels) for pixels in read_pixels(shown)])
    assert seen.feature_NVF.shape == (3, 3, alone.shape[1])
    np.testing.assert_allclose(seen.feature_NVF[:, 0], alone, atol=1e-5)
    np.testing.assert_allclose(seen.logit_NVC[:, 0], scores, atol=1e-4)
    assert np.abs(seen.feature_NVF[:, 1] - seen.feature_NVF[:, 2]).max() > 0.01
    again = seen.views(4)
    np.testing.assert_array_equal(again.feature_NVF[:, :3], seen.feature_NVF)
    np.testing.assert_array_equal(again.logit_NVC[:, 3], seen.logit_NVC[:, 0])
    both = seen.take([2]).beside(seen.take([0, 1])).views(1)
    assert both.captions == [("picture 2",), ("picture 0",), ("picture 1",)]
    np.testing.assert_array_equal(both.feature_NVF, seen.feature_NVF[[2, 0, 1], :1])


def test_an_axis_from_pairs_ignores_what_the_pictures_show() -> None:
    rng = np.random.default_rng(1)
    content_ND = rng.standard_normal((400, 32)).astype(np.float32)
    attribute_D = unit(rng.standard_normal((1, 32)))[0]
    noise_ND = 0.1 * rng.standard_normal((400, 32)).astype(np.float32)
    direction_D = between(content_ND + attribute_D + noise_ND - content_ND)
    assert float(direction_D @ attribute_D) > 0.95


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


def test_a_caption_stays_on_one_side_of_the_split() -> None:
    captions = [(f"caption {i // 2}",) for i in range(2 * HELD_OUT)]
    nothing = np.zeros((len(captions), 1, 1), np.float32)
    train, test = _split(Seen(nothing, nothing, captions), seed=5)
    assert len(test) == HELD_OUT
    assert sorted(train + test) == list(range(len(captions)))
    assert len({captions[i] for i in train} & {captions[i] for i in test}) <= 1  # the one at the cut
