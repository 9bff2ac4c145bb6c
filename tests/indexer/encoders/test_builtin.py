"""The two heads of the builtin encoder: each formula is written out here, from the numbers in the files."""

import hashlib
from itertools import pairwise
from math import erf, sqrt

import numpy as np
import pytest
from numpy import ndarray
from safetensors.numpy import load_file

from indexer.encoders.builtin import FOLDER, Backbone, BuiltinEncoder, SentenceModel, gelu
from indexer.encoders.known_models import BUILTIN_IDS, name_within
from indexer.encoders.registry import download, list_models, load_encoder
from indexer.errors import InvalidInputError
from tests.support.generated_pictures import pictures

# Vectors that were stored by an older Kallos stay comparable: this file does not change.
BUILTIN_1_SHA256 = "9e4b9892ec81ec62fdfad11b8267b79fbe7c5d5d6dc07e9ce8a31ec493735205"
MOST_BYTES = 20_000_000  # of what a further head may add to the package


def unit(rows: ndarray) -> ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def looked() -> tuple[ndarray, ndarray]:
    encoder = BuiltinEncoder(threads=1)
    return Backbone(FOLDER, 1).run([encoder.prepare(picture) for picture in pictures()])


def by_formula(head: dict[str, ndarray], w: float) -> ndarray:
    """In float64, from features and class scores to image vectors."""
    f, scores = (rows.astype(np.float64) for rows in looked())
    e = head["meaning_CT"]
    share = np.exp(scores / 2) / np.exp(scores / 2).sum(axis=1, keepdims=True)
    b = unit(share @ e - e.mean(axis=0))
    h = (np.concatenate([np.sqrt(f.clip(0)), 4 * b], axis=1) - head["input_mean_H"]) / head["input_scale_H"]
    v = h @ head["weight_TH"].T + head["bias_T"]
    if "hidden_KH" in head:
        x = h @ head["hidden_KH"].T + head["hidden_bias_K"]
        v = v + (x * (1 + np.vectorize(erf)(x / sqrt(2))) / 2) @ head["output_TK"].T
    a = unit(w * b + unit(v + b))
    p = unit((np.sqrt(f.clip(0)) - head["visual_mean_F"]) @ head["visual_PF"].T)
    return unit(np.concatenate([a, 0.6 * p], axis=1))


def numbers(model_id: str) -> dict[str, ndarray]:
    return {
        name: array.astype(np.float64)
        for name, array in load_file(FOLDER / f"{model_id}.safetensors").items()
    }


def test_builtin_1_is_what_it_was() -> None:
    assert hashlib.sha256((FOLDER / "builtin-1.safetensors").read_bytes()).hexdigest() == BUILTIN_1_SHA256
    head = numbers("builtin-1")
    assert "hidden_KH" not in head
    encoded = BuiltinEncoder("builtin-1", threads=1).encode_images(pictures())
    np.testing.assert_allclose(encoded, by_formula(head, w=2), atol=2e-5)


def test_builtin_2_has_hidden_layers_beside_the_linear_map_and_less_of_the_class_names() -> None:
    head = numbers("builtin-2")
    encoded = BuiltinEncoder("builtin-2", threads=1).encode_images(pictures())
    # erf above, its tanh form in the encoder: they differ by 5e-4 at most, of each hidden unit
    np.testing.assert_allclose(encoded, by_formula(head, w=1), atol=1e-3)
    without = {name: array for name, array in head.items() if "hidden" not in name}
    assert np.abs(encoded - by_formula(without, w=1)).max() > 0.01
    assert np.abs(encoded - by_formula(head, w=2)).max() > 0.01
    assert (FOLDER / "builtin-2.safetensors").stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("model_id", BUILTIN_IDS)
def test_a_text_is_centred_and_says_nothing_of_looks(model_id: str) -> None:
    texts = ["a red bicycle", "two dogs"]
    sentence_NT = SentenceModel(FOLDER, 1).run(texts).astype(np.float64)
    expected_NT = unit(sentence_NT - numbers(model_id)["text_mean_T"])
    encoded = BuiltinEncoder(model_id, threads=1).encode_texts(texts)
    np.testing.assert_allclose(encoded[:, :384], expected_NT, atol=1e-5)
    assert not encoded[:, 384:].any()


def test_gelu_is_x_times_the_normal_distribution_function() -> None:
    x = np.linspace(-6, 6, 241, dtype=np.float32)[None]
    expected = [value * (1 + erf(value / sqrt(2))) / 2 for value in x[0].tolist()]
    np.testing.assert_allclose(gelu(x)[0], expected, atol=5e-4)


@pytest.mark.parametrize("model_id", BUILTIN_IDS)
def test_axes_are_unit_directions_that_say_what_they_are(model_id: str) -> None:
    axes = BuiltinEncoder(model_id).axes()
    assert set(axes) == {"aesthetics", "recency_visual", "age"}
    assert "echnical quality" in axes["aesthetics"].card
    for axis in axes.values():
        assert axis.direction_D.dtype == np.float32
        assert np.isclose(np.linalg.norm(axis.direction_D), 1, atol=1e-5)


def test_each_model_loads_by_its_own_name_and_the_newest_by_a_shorter_one() -> None:
    assert [load_encoder(name).model_id for name in BUILTIN_IDS] == list(BUILTIN_IDS)
    assert load_encoder("builtin").model_id == BUILTIN_IDS[-1]
    numbers_of = [int(name.removeprefix("builtin-")) for name in BUILTIN_IDS]
    assert all(older < newer for older, newer in pairwise(numbers_of))
    listed = {model.name: model for model in list_models()}
    assert listed["builtin"].note.startswith("builtin-2;")
    assert listed["builtin-1"].status == "installed"
    assert "builtin-2" not in listed
    for name in ("builtin", *BUILTIN_IDS):
        with pytest.raises(InvalidInputError, match="is not downloaded"):
            download(name)


def test_builtin_is_for_a_collection_the_model_that_made_it() -> None:
    assert name_within("builtin", "builtin-1") == "builtin-1"
    assert name_within("builtin", "builtin-2") == "builtin-2"
    assert name_within("builtin", "another-1") == "builtin"
    assert name_within("open_clip:A/b", "builtin-1") == "open_clip:A/b"
