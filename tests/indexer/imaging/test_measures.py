"""Measured attributes: hand-computed values, and how they move when a picture is changed."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from indexer.imaging.decode import Limits, at_scale, decode
from indexer.imaging.measures import MEASURED_SIDE, Measures, brightness, colourfulness, dhash, measure
from indexer.imaging.measures import sharpness as sharpness_of
from indexer.tables.metadata import filled
from indexer.types import JSONValue
from tests.support.files import encoded


def scene(seed: int, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """Smooth colours with edges and fine grain in them."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth).astype(int) + rng.integers(-12, 13, (size[1], size[0], 1))
    pixels[100:140, 60:400] //= 2
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def measured(image: Image.Image) -> Measures:
    return measure(at_scale(np.asarray(image), MEASURED_SIDE))


@given(st.integers(0, 255))
def test_a_grey_picture_has_no_colour_and_no_detail(level: int) -> None:
    found = measured(Image.new("RGB", (40, 30), (level, level, level)))
    value = level / 255
    linear = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
    assert (found.colourfulness, found.sharpness, found.dhash) == (0.0, 0.0, "0" * 16)
    assert found.brightness == pytest.approx(linear, abs=1e-4)


def test_colourfulness_of_red_beside_cyan_by_hand() -> None:
    """Half rg = 255, yb = 127.5, half rg = -255, yb = -127.5: both means 0, deviations 255 and 127.5."""
    value_3HW = np.zeros((3, 4, 8), np.float32)
    value_3HW[0, :, :4] = value_3HW[1, :, 4:] = value_3HW[2, :, 4:] = 255
    assert colourfulness(value_3HW) == pytest.approx(np.sqrt(255**2 + 127.5**2), rel=1e-6)


def test_colourfulness_of_one_colour_is_its_mean_alone() -> None:
    """Pure red: rg = 255, yb = 127.5, no deviation."""
    value_3HW = np.zeros((3, 4, 8), np.float32)
    value_3HW[0] = 255
    assert colourfulness(value_3HW) == pytest.approx(0.3 * np.sqrt(255**2 + 127.5**2), rel=1e-6)


def test_brightness_weighs_the_primaries_as_rec_709() -> None:
    plane_3HW = np.zeros((3, 2, 2), np.uint8)
    plane_3HW[1] = 255
    assert brightness(plane_3HW) == pytest.approx(0.7152)


def test_sharpness_of_a_checkerboard_by_hand() -> None:
    """Of 0 and 255: the Laplacian is 4 * 255 on black and -4 * 255 on white, mean 0."""
    luma_HW = (np.indices((10, 10)).sum(axis=0) % 2 * 255).astype(np.float32)
    assert sharpness_of(luma_HW) == pytest.approx(np.log10(1 + (4 * 255) ** 2), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 160), (160, 2), (1, 1)])
def test_slivers_are_measured(shape: tuple[int, int]) -> None:
    found = measure(np.full((*shape, 3), 255, np.uint8))
    assert found == Measures(0.0, 1.0, 0.0, "0" * 16)


@pytest.mark.parametrize("seed", range(5))
def test_each_measure_moves_with_what_it_measures(seed: int) -> None:
    image = scene(seed)
    plain = measured(image)
    blurred = [measured(image.filter(ImageFilter.GaussianBlur(radius))) for radius in (2, 4, 8)]
    assert plain.sharpness > blurred[0].sharpness > blurred[1].sharpness > blurred[2].sharpness
    assert measured(ImageEnhance.Brightness(image).enhance(1.3)).brightness > plain.brightness
    assert measured(ImageEnhance.Brightness(image).enhance(0.7)).brightness < plain.brightness
    assert measured(ImageEnhance.Color(image).enhance(1.4)).colourfulness > plain.colourfulness
    assert measured(image.convert("L").convert("RGB")).colourfulness == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_copy_measures_the_same(seed: int) -> None:
    small = scene(seed)
    first, second = measured(small), measured(small.resize((960, 720), Image.Resampling.BICUBIC))
    assert second.colourfulness == pytest.approx(first.colourfulness, abs=1.0)
    assert second.brightness == pytest.approx(first.brightness, abs=0.005)
    assert second.sharpness == pytest.approx(first.sharpness, abs=0.15)


def bits_between(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def test_dhash_by_hand() -> None:
    """Darker than its right neighbour: 1. A row of rising cells is 0xff, a falling one 0x00."""
    rising_C = np.arange(9, dtype=np.float32) * 10
    luma_HW = np.stack([rising_C if row % 2 == 0 else rising_C[::-1] for row in range(8)])
    assert dhash(luma_HW) == "ff00" * 4


@pytest.mark.parametrize("seed", range(5))
def test_copies_keep_their_hash_and_others_have_another(seed: int) -> None:
    image = scene(seed)
    jpeg = decode(encoded(image, "JPEG", quality=40), Limits(1 << 24, 1 << 24)).pixels
    copies = [Image.fromarray(jpeg), image.resize((200, 150)), image.convert("L").convert("RGB")]
    mine = measured(image).dhash
    assert all(bits_between(mine, measured(copy).dhash) <= 4 for copy in copies)
    assert bits_between(mine, measured(scene(seed + 100)).dhash) >= 16


def test_what_is_there_is_never_replaced() -> None:
    person: dict[str, JSONValue] = {"caption": "mine", "measured": {"brightness": 0.9}}
    computed: dict[str, JSONValue] = {"measured": {"brightness": 0.1, "sharpness": 2.0}, "caption": "other"}
    merged = filled(person, computed)
    assert merged == {"caption": "mine", "measured": {"brightness": 0.9, "sharpness": 2.0}}
    assert filled(merged, computed) == merged
    assert person["measured"] == {"brightness": 0.9}
    assert filled({"measured": "words"}, computed)["measured"] == "words"


def test_a_picture_of_any_bytes_is_measured_after_decoding() -> None:
    data = io.BytesIO()
    scene(1).save(data, "PNG")
    found = measured(Image.fromarray(decode(data.getvalue(), Limits(1 << 24, 1 << 24)).pixels))
    assert len(found.dhash) == 16
    assert 0 < found.brightness < 1
