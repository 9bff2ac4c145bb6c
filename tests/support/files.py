"""Picture files with known content."""

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pillow_heif
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 40), (20, 160, 60), (30, 60, 200), (255, 255, 255)


def halves(
    left: tuple[int, ...] = RED,
    right: tuple[int, ...] = BLUE,
    size: tuple[int, int] = (96, 64),
    mode: str = "RGB",
) -> Image.Image:
    """One colour on the left, one on the right, and a white square in the upper left corner."""
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    if mode == "RGB":
        image.paste(WHITE, (0, 0, size[0] // 6, size[0] // 6))
    return image


def noise(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture like no other: coarse coloured squares."""
    cells = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)


def encoded(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    if format_ == "HEIF":
        pillow_heif.from_pillow(image).save(out, quality=95)
    else:
        image.save(out, format_, **options)
    return out.getvalue()


def write_shard(path: Path, members: Mapping[str, bytes]) -> None:
    """A tar, compressed as its name says."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes whose header promises a huge picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def profile_with_red_and_green_swapped() -> bytes:
    """An ICC profile (version 2, matrix and gamma) whose red primary is sRGB's green, and the reverse."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    # sRGB's primaries, adapted to D50 as the ICC wants them.
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    text = b"text\0\0\0\0none\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 8) + b"swapped\0" + b"\0" * 78
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": description,
        b"cprt": text + b"\0" * 3,
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(*green),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(*red),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(*blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def mean_colour(pixels: UInt8[ndarray, "h w 3"]) -> list[float]:
    return [float(value) for value in pixels.reshape(-1, 3).mean(axis=0)]
