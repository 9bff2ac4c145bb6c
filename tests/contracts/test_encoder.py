"""The law of `indexer.protocols.Encoder`, on every implementation."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.encoders.registry import load_encoder
from indexer.protocols import Encoder
from tests.support.encoder import ColourEncoder
from tests.support.generated_pictures import pictures
from tests.support.tiny_clip import tiny_encoder, tiny_export

TEXTS = ("a red bicycle", "two dogs on a beach", "", "Crème brûlée", "long " * 300)
ROUNDING = 1e-5  # other batch sizes take other summation orders


@functools.cache
def builtin() -> Encoder:
    return load_encoder("builtin", threads=1)


@functools.cache
def older_builtin() -> Encoder:
    return load_encoder("builtin-1", threads=1)


@functools.cache
def exported() -> Encoder:
    return load_encoder(f"onnx:{tiny_export()}", threads=1)


IMPLEMENTATIONS: dict[str, Callable[[], Encoder]] = {
    "builtin": builtin,
    "builtin-1": older_builtin,
    "open_clip": tiny_encoder,
    "onnx": exported,
    "in-memory": ColourEncoder,
}


EXPORTED = pytest.param("onnx", marks=pytest.mark.slow)  # writing its graph takes a while


@pytest.fixture(params=[EXPORTED if name == "onnx" else name for name in IMPLEMENTATIONS])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return IMPLEMENTATIONS[request.param]()


def test_rows_are_unit_float32_of_the_stated_dimension(encoder: Encoder) -> None:
    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    assert images.shape == (len(pictures()), encoder.dim)
    assert texts.shape == (len(TEXTS), encoder.dim)
    for vectors in (images, texts):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_nothing_in_gives_no_rows_of_the_right_width(encoder: Encoder) -> None:
    for vectors in (encoder.encode_images([]), encoder.encode_prepared([]), encoder.encode_texts([])):
        assert vectors.shape == (0, encoder.dim)
        assert vectors.dtype == np.float32


def test_the_same_input_twice_gives_the_same_bytes(encoder: Encoder) -> None:
    assert np.array_equal(encoder.encode_images(pictures()), encoder.encode_images(pictures()))
    assert np.array_equal(encoder.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


def test_different_pictures_and_texts_get_different_vectors(encoder: Encoder) -> None:
    for vectors in (encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)):
        likeness = vectors @ vectors.T - np.eye(len(vectors))
        assert likeness.max() < 1 - 1e-6


def test_preparing_apart_is_the_same_as_encoding_at_once(encoder: Encoder) -> None:
    apart = encoder.encode_prepared([encoder.prepare(picture) for picture in pictures()])
    assert np.array_equal(apart, encoder.encode_images(pictures()))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(max_examples=10, deadline=None)
@given(order=st.lists(st.integers(0, len(pictures()) - 1), min_size=1, max_size=6))
def test_a_picture_does_not_depend_on_its_batch(name: str, order: list[int]) -> None:
    encoder = IMPLEMENTATIONS[name]()
    alone = np.concatenate([encoder.encode_images([picture]) for picture in pictures()])
    together = encoder.encode_images([pictures()[index] for index in order])
    np.testing.assert_allclose(together, alone[order], atol=ROUNDING)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(max_examples=10, deadline=None)
@given(order=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=6))
def test_a_text_does_not_depend_on_its_batch(name: str, order: list[int]) -> None:
    encoder = IMPLEMENTATIONS[name]()
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    together = encoder.encode_texts([TEXTS[index] for index in order])
    np.testing.assert_allclose(together, alone[order], atol=ROUNDING)


def test_more_items_than_one_batch_keep_their_order(encoder: Encoder) -> None:
    count = 70  # more than twice the batch of any implementation on a CPU
    few_images, few_texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    images = encoder.encode_images([pictures()[i % len(pictures())] for i in range(count)])
    texts = encoder.encode_texts([TEXTS[i % len(TEXTS)] for i in range(count)])
    np.testing.assert_allclose(images, few_images[np.arange(count) % len(few_images)], atol=ROUNDING)
    np.testing.assert_allclose(texts, few_texts[np.arange(count) % len(few_texts)], atol=ROUNDING)


@pytest.mark.slow
def test_eight_threads_get_the_answers_that_one_gets(encoder: Encoder) -> None:
    expected_images, expected_texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)

    def work(_: int) -> bool:
        images = np.allclose(encoder.encode_images(pictures()), expected_images, atol=ROUNDING)
        return images and np.allclose(encoder.encode_texts(TEXTS), expected_texts, atol=ROUNDING)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_of_a_text_that_fits_the_last_word_counts_and_past_that_no_word_does(encoder: Encoder) -> None:
    texts = [" ".join(["dog", "red", "tree"][i % 3] for i in range(length)) for length in range(1, 160)]
    fits = [encoder.fits(text) for text in texts]
    longest = sum(fits)  # in words: they are one more each
    assert fits == [True] * longest + [False] * (len(fits) - longest)
    assert 0 < longest < len(texts) - 2
    shorter_D, whole_D, cut_D, longer_D = encoder.encode_texts(texts[longest - 2 : longest + 2])
    assert not np.allclose(shorter_D, whole_D, atol=ROUNDING)
    assert np.allclose(cut_D, longer_D, atol=ROUNDING)


def test_the_model_says_what_it_is(encoder: Encoder) -> None:
    assert encoder.model_id
    assert encoder.licence
    assert encoder.dim > 0


def test_shipped_axes_are_unit_directions_in_the_same_space(encoder: Encoder) -> None:
    for axis in encoder.axes().values():
        assert axis.direction_D.shape == (encoder.dim,)
        assert np.linalg.norm(axis.direction_D) == pytest.approx(1.0, abs=1e-5)
        assert axis.card
