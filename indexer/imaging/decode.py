"""Bytes → pixels: every format, orientation and colour space that people's folders hold.

    JPEG  PNG  WebP  GIF  TIFF  BMP  AVIF  HEIC  SVG

The pixel count is read from the header before anything is decoded, so a small file cannot ask for more memory
than `Limits` allow. Whatever the bytes are, the answer is a picture or an `UnreadableImageError`.

Dimension key   H height, W width
"""

import hashlib
import io
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

import numpy as np
import pillow_heif
import resvg_py
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from PIL.ExifTags import IFD

from indexer.errors import UnreadableImageError
from indexer.imaging.exif import ExifTags, facts_of
from indexer.types import JSONValue, Picture

WORKING_SIDE = (
    512  # pixels of the longer side: enough for every encoder's input, little enough to pass around
)
THUMBNAIL_SIDE = 320
JPEG_QUALITY = 85
WHITE = (255, 255, 255)

REASONS: Mapping[str, str] = {
    "empty": "the file has no bytes",
    "too_many_bytes": "the file is larger than KALLOS's limit, which follows from the memory of the machine",
    "too_many_pixels": "decoding it would take more memory than the limit allows",
    "not_an_image": "the bytes are not a picture of any format that is read here",
    "truncated": "the file ends too early",
    "corrupt": "the bytes contradict the format that they claim",
    "unreadable": "the file or folder could not be read, or its name is not UTF-8",
    "not_a_file": "it is a folder, a pipe, a socket or a device",
    "dangling_link": "the link points to nothing",
    "link_loop": "the link leads back to a folder that contains it",
    "out_of_memory": "there was not enough memory to decode it",
    "unreachable": "the URL could not be fetched",
    "forbidden_address": "the URL leads to an address that is not public",
    "opted_out": "the site asks not to be used for this (X-Robots-Tag)",
}

# PIL's names of the formats that are read, and what a file name may call them.
FORMATS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "JPEG": ("image/jpeg", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "MPO": ("image/jpeg", (".jpg", ".jpeg", ".mpo")),  # JPEGs of some cameras: several in one file
    "PNG": ("image/png", (".png", ".apng")),
    "WEBP": ("image/webp", (".webp",)),
    "GIF": ("image/gif", (".gif",)),
    "TIFF": ("image/tiff", (".tif", ".tiff")),
    "BMP": ("image/bmp", (".bmp", ".dib")),
    "AVIF": ("image/avif", (".avif",)),
    "HEIF": ("image/heic", (".heic", ".heif")),
    "SVG": ("image/svg+xml", (".svg",)),
}
EXTENSIONS = frozenset(extension for _, names in FORMATS.values() for extension in names)

BYTES_PER_PIXEL = 12  # decoded RGBA, its conversion, and the codec's own buffers
LARGEST_SHARE = 0.25  # of the memory that is free, for all workers together
MOST_PIXELS = 512 * 10**6
MOST_BYTES = 512 * 2**20

# PIL warns at 89 megapixels and refuses at 179, whatever the machine; `Limits` decides here, before decoding.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file in bytes, and the largest picture in pixels, that one worker may take on."""

    max_bytes: int
    max_pixels: int

    @classmethod
    def from_memory(cls, available: int | None = None, *, workers: int = 1) -> "Limits":
        """A quarter of the free memory, shared by `workers`; at least 16 megapixels and 64 MiB."""
        share = int((free_memory() if available is None else available) * LARGEST_SHARE) // max(workers, 1)
        return cls(
            max_bytes=min(max(share, 64 * 2**20), MOST_BYTES),
            max_pixels=min(max(share // BYTES_PER_PIXEL, 16 * 10**6), MOST_PIXELS),
        )


def free_memory() -> int:
    """Bytes that may still be used: what the machine has free, and no more than the control group allows."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        pages = int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024 or pages
    group = Path("/sys/fs/cgroup/memory.max")
    if group.exists() and (text := group.read_text().strip()).isdecimal():
        return min(pages, int(text))
    return pages


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def media_type(format_: str) -> str:
    return FORMATS[format_.upper()][0] if format_.upper() in FORMATS else "application/octet-stream"


def decode(data: bytes, limits: Limits, *, name: str = "", side: int = WORKING_SIDE) -> Picture:
    """Decode a picture: upright, sRGB, alpha on white, reduced to at most `side` pixels a side.

    Args:
        data: An encoded file. What it is, is read from its bytes; animations give their first frame.
        limits: What one picture may take.
        name: Its file name, only to notice that it claims another format (`mislabelled` in the metadata).
        side: The most pixels a side.

    Raises:
        UnreadableImageError: With one of REASONS. Nothing else is raised, whatever the bytes are.
    """
    image, format_, size, raw = _open(data, limits, side)
    metadata = dict(raw)
    suffix = PurePath(name).suffix.lower()
    if suffix in EXTENSIONS and suffix not in FORMATS[format_][1]:
        metadata["mislabelled"] = True
    pixels = np.asarray(_fitted(image, side))
    return Picture(
        pixels=pixels,
        width=size[0],
        height=size[1],
        format={"MPO": "jpeg", "HEIF": "heic"}.get(format_, format_.lower()),
        metadata=metadata,
    )


def thumbnail(pixels_HW3: UInt8[ndarray, "h w 3"]) -> bytes:
    """A JPEG of at most THUMBNAIL_SIDE pixels a side."""
    # Hamming is as sharp as bicubic when it makes smaller, for half the work.
    return _jpeg(_fitted(Image.fromarray(pixels_HW3), THUMBNAIL_SIDE, Image.Resampling.HAMMING))


def working_copy(pixels_HW3: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h w 3"]:
    """Pixels that `decode` gives for a file that holds exactly these: at most WORKING_SIDE a side."""
    return np.asarray(_fitted(_to_rgb(Image.fromarray(pixels_HW3), WORKING_SIDE), WORKING_SIDE))


def at_scale(pixels_HW3: UInt8[ndarray, "h w 3"], side: int) -> UInt8[ndarray, "h w 3"]:
    """The picture with a longer side of exactly `side`, also when that is more than it has."""
    image = Image.fromarray(pixels_HW3)
    # Large ones by whole pixels first; with 1.5 a picture and its thumbnail agree best, by 0.01 in sharpness.
    return np.asarray(image.resize(_size_at(image, side), Image.Resampling.HAMMING, reducing_gap=1.5))


def thumbnail_of(data: bytes, limits: Limits) -> bytes:
    return thumbnail(decode(data, limits).pixels)


def render(data: bytes, limits: Limits, width: int) -> bytes:
    """A JPEG at most `width` pixels wide; never enlarged."""
    image, _, size, _ = _open(data, limits, max(width, 16) * 4)
    if image.width > width:
        image = image.resize((width, max(1, round(width * size[1] / size[0]))), Image.Resampling.LANCZOS)
    return _jpeg(image)


def _open(
    data: bytes, limits: Limits, side: int
) -> tuple[Image.Image, str, tuple[int, int], Mapping[str, JSONValue]]:
    """(RGB image of at least `side` where the original is, format, original size upright, metadata)."""
    if not data:
        raise UnreadableImageError("empty", "the file has no bytes")
    if len(data) > limits.max_bytes:
        raise UnreadableImageError(
            "too_many_bytes", f"the file has {len(data)} bytes: expected at most {limits.max_bytes}"
        )
    try:
        if _looks_like_svg(data):
            return _open_svg(data, limits, side)
        return _open_raster(data, limits, side)
    except UnreadableImageError:
        raise
    except MemoryError as error:
        raise UnreadableImageError("out_of_memory", "not enough memory to decode it") from error
    except Exception as error:
        # Codecs raise almost anything over broken bytes: SyntaxError, struct.error, ZeroDivisionError.
        _explain(error, data)


def _open_raster(
    data: bytes, limits: Limits, side: int
) -> tuple[Image.Image, str, tuple[int, int], Mapping[str, JSONValue]]:
    with _parsed(data) as image:
        format_ = image.format or ""
        _check_pixels(image.size, limits)
        width, height = image.size
        exif = _exif(image)
        facts = facts_of(exif)
        is_jpeg = format_ in ("JPEG", "MPO")
        if is_jpeg:
            image.draft(None, (side, side))  # decodes at a fraction of the size where that is enough
        image.load()
        # TIFF turns itself while loading, and its tag is gone then: so the tag is read after it.
        turn = _TURNS.get(exif.orientation if is_jpeg else _orientation(image))
        if not is_jpeg:
            width, height = image.size
        flat = _to_rgb(image, side)
    if turn is not None:
        flat = flat.transpose(turn)
        if turn in _QUARTER_TURNS:
            width, height = height, width
    return flat, format_, (width, height), facts


_TURNS: Mapping[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = frozenset(_TURNS[i] for i in (5, 6, 7, 8))


def _parsed(data: bytes) -> ImageFile.ImageFile:
    """Read the header only. PIL opens MPO as a JPEG, and formats that are not listed are not tried."""
    if data[4:8] == b"ftyp" and data[8:12] not in (b"avif", b"avis"):
        return pillow_heif.HeifImageFile(io.BytesIO(data))
    return Image.open(
        io.BytesIO(data), formats=[name for name in FORMATS if name not in ("MPO", "HEIF", "SVG")]
    )


def _check_pixels(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise UnreadableImageError(
            "too_many_pixels", f"{width} x {height} pixels: expected at most {limits.max_pixels} in all"
        )
    if width < 1 or height < 1:
        raise UnreadableImageError("corrupt", f"a picture of {width} x {height} pixels")


def _orientation(image: Image.Image) -> int | None:
    return _exif(image).orientation


def _exif(image: Image.Image) -> ExifTags:
    """The tags that `indexer.imaging.exif` reads. Broken EXIF is no EXIF: the picture itself may be fine."""
    try:
        exif = image.getexif()
        return ExifTags(dict(exif), dict(exif.get_ifd(IFD.Exif)), dict(exif.get_ifd(IFD.GPSInfo)))
    except Exception:  # PIL raises struct.error, SyntaxError, ValueError and more over broken tags
        return ExifTags({}, {}, {})


def _to_rgb(image: Image.Image, side: int) -> Image.Image:
    """SRGB on white, reduced while it still has all its precision."""
    if max(image.size) >= 2 * side and image.mode in ("L", "RGB", "RGBA", "CMYK"):
        image = image.reduce(max(image.size) // side)  # a box filter: cheap, and no aliasing
    icc = image.info.get("icc_profile")
    see_through = "transparency" in image.info and image.mode in ("1", "L", "RGB")
    if see_through or image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
    elif image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    elif image.mode == "1":
        image = image.convert("RGB")
    if image.mode not in ("RGBA", "LA"):
        return _through_profile(image, icc) if icc else image.convert("RGB")
    flat = _through_profile(image.convert("RGB"), icc) if icc else image
    paper = Image.new("RGB", flat.size, WHITE)
    paper.paste(flat, mask=image)
    return paper


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys, scaled; converting clips them."""
    values = np.asarray(image, np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if image.mode == "F" or values.min() < 0 or values.max() > high:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / ((high - low) or 1.0))
    return Image.fromarray(scaled.round().astype(np.uint8))


def _through_profile(image: Image.Image, icc: bytes) -> Image.Image:
    """To sRGB by the embedded profile; a broken one, or one for other channels, is left aside."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if image.mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(profile):
            return image
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        converted = None
    return converted or image.convert("RGB")


SVG_ROOT = re.compile(r"<(?:\w+:)?svg\b[^>]*>", re.DOTALL)
SVG_LENGTH = re.compile(r"""\s(width|height)\s*=\s*["']\s*([0-9.eE+-]+)\s*(px|pt|pc|mm|cm|in)?\s*["']""")
SVG_UNITS = {
    "": 1.0,
    "px": 1.0,
    "pt": 96 / 72,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
}  # CSS
SVG_VIEWBOX = re.compile(r"""\bviewBox\s*=\s*["']([^"']*)["']""")
# Anything but a fragment of the same file or data inside it: a path would be read from this disk.
SVG_FOREIGN = re.compile(r"""(\bhref\s*=\s*)(["'])(?!\s*#|\s*data:)(?:(?!\2).)*\2""", re.DOTALL)
SVG_ENTITY = re.compile(r"""<!ENTITY[^>"']*(["'])(?P<value>.*?)\1""", re.DOTALL)
SVG_SIDE = 320  # pixels when it is only to be encoded: at 512 drawing one takes 55 ms, here 28
SVG_LONGEST_SHAPE = 64  # longer side over shorter side


def _looks_like_svg(data: bytes) -> bool:
    head = data[:65536].lstrip(b"\xef\xbb\xbf \t\r\n")
    return (
        head[:1] == b"<"
        and b"<html" not in head[:1024].lower()
        and re.search(rb"<(\w+:)?svg\b", head) is not None
    )


def _open_svg(
    data: bytes, limits: Limits, side: int
) -> tuple[Image.Image, str, tuple[int, int], Mapping[str, JSONValue]]:
    text = data.decode("utf-8", "replace")
    for entity in SVG_ENTITY.finditer(text):
        if "<" in entity["value"] or "&" in entity["value"]:
            raise UnreadableImageError("corrupt", "an SVG whose entities hold markup is not read")
    width, height = _svg_size(text)
    _check_pixels((math.ceil(width), math.ceil(height)), limits)
    if max(width, height) > SVG_LONGEST_SHAPE * min(width, height):
        raise UnreadableImageError("corrupt", f"an SVG of {width:g} x {height:g} has no usable shape")
    drawn_side = SVG_SIDE if side <= WORKING_SIDE else min(side, 2 * WORKING_SIDE)
    scale = drawn_side / max(width, height)
    drawn = resvg_py.svg_to_bytes(
        svg_string=SVG_FOREIGN.sub(r"\1\2#\2", _in_pixels(text)),
        background="#ffffff",
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        skip_system_fonts="<text" not in text,  # listing them takes longer than most drawings
    )
    image = Image.open(io.BytesIO(bytes(drawn)), formats=["PNG"]).convert("RGB")
    return image, "SVG", (max(1, round(width)), max(1, round(height))), {}


def _in_pixels(text: str) -> str:
    """The root's width and height in plain pixels: resvg refuses other units where there is no viewBox."""

    def plain(length: re.Match[str]) -> str:
        name, number, unit = length.groups(default="")
        return f' {name}="{_positive(number) * SVG_UNITS[unit]:g}"'

    return SVG_ROOT.sub(lambda root: SVG_LENGTH.sub(plain, root[0]), text, count=1)


def _svg_size(text: str) -> tuple[float, float]:
    """In CSS pixels: the root's width and height, else its viewBox, else 100 x 100."""
    root = SVG_ROOT.search(text)
    tag = root[0] if root else ""
    lengths = {name: _positive(number) * SVG_UNITS[unit] for name, number, unit in SVG_LENGTH.findall(tag)}
    viewbox = SVG_VIEWBOX.search(tag)
    box = [_positive(number) for number in re.split(r"[\s,]+", viewbox[1].strip())] if viewbox else []
    inner = (box[2], box[3]) if len(box) == 4 else (0.0, 0.0)
    width, height = lengths.get("width", 0.0), lengths.get("height", 0.0)
    if width and height:
        return width, height
    if inner[0] and inner[1]:
        if width or height:
            scale = width / inner[0] if width else height / inner[1]
            return inner[0] * scale, inner[1] * scale
        return inner
    return width or height or 100.0, height or width or 100.0


def _positive(number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        return 0.0
    return value if 0 < value < 1e7 else 0.0


def _fitted(
    image: Image.Image, side: int, filter_: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    if max(image.size) <= side:
        return image
    return image.resize(_size_at(image, side), filter_)


def _size_at(image: Image.Image, side: int) -> tuple[int, int]:
    scale = side / max(image.size)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _explain(error: Exception, data: bytes) -> NoReturn:
    text = str(error)
    if isinstance(error, UnidentifiedImageError):
        raise UnreadableImageError("not_an_image", "the bytes are not a picture of a known format") from error
    if isinstance(error, EOFError) or any(word in text.lower() for word in ("truncated", "end of", "eof")):
        raise UnreadableImageError(
            "truncated", f"the file ends too early, after {len(data)} bytes"
        ) from error
    raise UnreadableImageError("corrupt", f"the picture is damaged: {text[:200]}") from error
