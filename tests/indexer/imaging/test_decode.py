"""Whatever people's folders hold → upright sRGB pixels, or a reason."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from indexer.errors import UnreadableImageError
from indexer.imaging.decode import REASONS, WORKING_SIDE, Limits, decode, free_memory, render, thumbnail_of
from tests.support.files import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    encoded,
    halves,
    mean_colour,
    noise,
    png_that_claims,
    profile_with_red_and_green_swapped,
)

LIMITS = Limits(max_bytes=1 << 24, max_pixels=1 << 24)
LOSSY = 12  # of 255: chroma subsampling next to an edge is left out by looking at the middle of each half


def left_and_right(data: bytes) -> tuple[list[float], list[float]]:
    pixels = decode(data, LIMITS).pixels
    height, width = pixels.shape[:2]
    lower = pixels[height // 2 :]
    return (
        mean_colour(lower[:, width // 8 : width * 3 // 8]),
        mean_colour(lower[:, width * 5 // 8 : width * 7 // 8]),
    )


@pytest.mark.parametrize(
    ("format_", "name"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("TIFF", "tiff"),
        ("BMP", "bmp"),
        ("AVIF", "avif"),
        ("HEIF", "heic"),
    ],
)
def test_every_format_gives_its_pixels_and_its_name(format_: str, name: str) -> None:
    picture = decode(encoded(halves(), format_), LIMITS)
    assert (picture.width, picture.height, picture.format) == (96, 64, name)
    left, right = left_and_right(encoded(halves(), format_))
    assert left == pytest.approx(RED, abs=LOSSY)
    assert right == pytest.approx(BLUE, abs=LOSSY)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(halves(), format_, exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"), np.int16)
    picture = decode(data, LIMITS)
    assert (picture.height, picture.width) == expected.shape[:2]
    assert np.abs(picture.pixels.astype(np.int16) - expected).mean() < 2


def test_the_embedded_colour_profile_is_honoured() -> None:
    pure = halves((255, 0, 0), (0, 255, 0))
    plain_left, plain_right = left_and_right(encoded(pure))
    left, right = left_and_right(encoded(pure, icc_profile=profile_with_red_and_green_swapped()))
    assert left == pytest.approx(plain_right, abs=4)
    assert right == pytest.approx(plain_left, abs=4)


def test_a_broken_colour_profile_is_ignored() -> None:
    left, _ = left_and_right(encoded(halves(), icc_profile=b"not a profile"))
    assert left == pytest.approx(RED, abs=1)


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    red, green, blue = mean_colour(decode(encoded(cyan, "JPEG", quality=95), LIMITS).pixels)
    assert red < 40
    assert min(green, blue) > 150


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_greys_are_scaled_not_clipped(share: float, format_: str) -> None:
    values = np.full((32, 32), round(share * 65535), np.uint16)
    values[0, 0] = 65535  # so that the range is not guessed from the content
    picture = decode(encoded(Image.fromarray(values), format_), LIMITS)
    assert float(np.median(picture.pixels)) == pytest.approx(255 * share, abs=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = decode(encoded(halves().convert(mode)), LIMITS)
    assert picture.pixels.shape == (64, 96, 3)
    assert picture.pixels.dtype == np.uint8


def test_what_is_see_through_shows_white() -> None:
    image = halves((*RED, 255), (*BLUE, 0), mode="RGBA")
    left, right = left_and_right(encoded(image))
    assert left == pytest.approx(RED, abs=1)
    assert right == pytest.approx(WHITE, abs=1)


def test_half_see_through_is_mixed_with_white() -> None:
    left, _ = left_and_right(encoded(halves((0, 0, 0, 128), (0, 0, 0, 255), mode="RGBA")))
    assert left == pytest.approx([127, 127, 127], abs=2)


def test_a_see_through_colour_of_a_palette_shows_white() -> None:
    image = halves().quantize(4)
    blue = image.getpixel((90, 60))
    _, right = left_and_right(encoded(image, "GIF", transparency=blue))
    assert right == pytest.approx(WHITE, abs=1)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_stands_for_an_animation(format_: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
    assert mean_colour(decode(data, LIMITS).pixels) == pytest.approx(RED, abs=LOSSY)


def test_large_pictures_are_reduced_and_their_size_is_kept() -> None:
    picture = decode(encoded(halves(size=(3000, 1500)), "JPEG"), LIMITS)
    assert (picture.width, picture.height) == (3000, 1500)
    assert picture.pixels.shape == (WORKING_SIDE // 2, WORKING_SIDE, 3)


def test_a_wrong_extension_is_noticed_and_does_no_harm() -> None:
    data = encoded(halves(), "JPEG")
    assert decode(data, LIMITS, name="/a/b.png").metadata == {"mislabelled": True}
    assert decode(data, LIMITS, name="/a/b.jpg").metadata == {}


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode(data, limits)
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_what_is_no_picture_is_named() -> None:
    assert reason(b"") == "empty"
    assert reason(b"hello, world" * 40) == "not_an_image"
    assert reason(b"<html><body><svg></svg></body></html>") == "not_an_image"
    assert reason(b"%PDF-1.4 " + b"x" * 400) == "not_an_image"
    for format_ in ("PNG", "JPEG"):
        data = encoded(noise(1, (400, 300)), format_)
        assert reason(data[: len(data) * 2 // 3]) == "truncated"


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    before = free_memory()
    assert reason(png_that_claims(40_000, 40_000)) == "too_many_pixels"
    assert before - free_memory() < 1 << 30  # 4.8 GB were it decoded


def test_the_byte_cap_holds() -> None:
    assert reason(encoded(halves()), Limits(max_bytes=10, max_pixels=1 << 20)) == "too_many_bytes"


@pytest.mark.parametrize(("available", "workers"), [(1 << 30, 1), (1 << 35, 2), (1 << 40, 1)])
def test_limits_follow_from_memory(available: int, workers: int) -> None:
    limits = Limits.from_memory(available, workers=workers)
    assert limits.max_pixels * 12 * workers <= max(available / 4, 16e6 * 12 * workers)
    assert limits.max_pixels >= 16e6


def picture_or_reason(data: bytes) -> str:
    try:
        decode(data, LIMITS)
    except UnreadableImageError as error:
        return error.reason
    return "picture"


SAMPLES = {name: encoded(noise(3, (60, 50)), name) for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF")}


@given(
    name=st.sampled_from(sorted(SAMPLES)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_damage_gives_a_picture_or_a_reason(name: str, cut: float, changes: list[tuple[float, int]]) -> None:
    data = bytearray(SAMPLES[name])
    for place, value in changes:
        data[int(place * len(data))] = value
    outcome = picture_or_reason(bytes(data[: round(cut * len(data))]))
    assert outcome == "picture" or outcome in REASONS


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {root}>'
    '<rect width="1000" height="1000" fill="rgb(220,30,40)"/>{inside}</svg>'
)


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('width="40" height="20"', (40, 20)),
        ('width="30pt" height="15pt"', (40, 20)),  # 96 / 72
        ('width="1in" height="2.54cm"', (96, 96)),
        ('viewBox="0 0 80 40"', (80, 40)),
        ('viewBox="0 0 80 40" width="160"', (160, 80)),
        ("", (100, 100)),
    ],
)
def test_an_svg_is_drawn_in_its_own_size(root: str, size: tuple[int, int]) -> None:
    picture = decode(SVG.format(root=root, inside="").encode(), LIMITS)
    assert (picture.width, picture.height, picture.format) == (*size, "svg")
    assert mean_colour(picture.pixels) == pytest.approx(RED, abs=1)


def test_an_svg_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(Image.new("RGB", (8, 8), GREEN)))
    for reference in (f"{tmp_path}/secret.png", f"file://{tmp_path}/secret.png", "http://127.0.0.1:9/a.png"):
        image = f'<image width="100" height="100" xlink:href="{reference}" href="{reference}"/>'
        picture = decode(SVG.format(root='width="100" height="100"', inside=image).encode(), LIMITS)
        assert mean_colour(picture.pixels) == pytest.approx(RED, abs=1)


@pytest.mark.parametrize(("name", "quote"), [("it's.png", '"'), ('6".png', "'")])
@pytest.mark.parametrize(
    "inside",
    [
        '<image width="100" height="100" href={}/>',
        '<image width="100" height="100" xlink:href={}/>',
        '<filter id="f"><feImage href={}/></filter><rect filter="url(#f)" width="100" height="100"/>',
    ],
)
def test_an_svg_reads_no_file_with_quotes_in_its_name(
    tmp_path: Path, inside: str, name: str, quote: str
) -> None:
    (tmp_path / name).write_bytes(encoded(Image.new("RGB", (8, 8), GREEN)))
    drawing = inside.format(f"{quote}{tmp_path / name}{quote}")
    picture = decode(SVG.format(root='width="100" height="100"', inside=drawing).encode(), LIMITS)
    assert mean_colour(picture.pixels) == pytest.approx(RED, abs=1)


def test_entities_may_hold_text_but_not_markup() -> None:
    def with_entities(*values: str) -> bytes:
        entities = "".join(f'<!ENTITY e{i} "{value}">' for i, value in enumerate(values))
        return f"<!DOCTYPE svg [{entities}]>".encode() + SVG.format(root="", inside="").encode()

    assert decode(with_entities("http://example.org/", "2"), LIMITS).format == "svg"
    assert reason(with_entities("x", "&e0;&e0;&e0;")) == "corrupt"
    assert reason(with_entities("<g/>")) == "corrupt"


def test_renderings_are_jpegs_that_are_never_enlarged() -> None:
    data = encoded(halves(size=(900, 600)))
    for width, expected in ((300, (300, 200)), (2000, (900, 600))):
        with Image.open(io.BytesIO(render(data, LIMITS, width))) as image:
            assert (image.format, image.size) == ("JPEG", expected)
    with Image.open(io.BytesIO(thumbnail_of(data, LIMITS))) as image:
        assert (image.format, max(image.size)) == ("JPEG", 320)
