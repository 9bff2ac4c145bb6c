"""Emoji drawings of several vendors as pixels with an alpha channel, from npm's icon sets.

Trained on: Noto (Apache-2.0), Fluent and Fluent flat (MIT). Only measured with, never trained on:
Twemoji and EmojiTwo (both CC BY 4.0).
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from indexer.errors import InvalidInputError
from training import packages

ARCHIVES = (
    "@iconify-json/noto@1.2.9",
    "@iconify-json/fluent-emoji@1.2.7",
    "@iconify-json/fluent-emoji-flat@1.2.6",
    "@iconify-json/twemoji@1.2.5",
    "@iconify-json/emojione@1.2.3",
)
OTHER_VENDORS = ("twemoji", "emojione")  # for `training.generator.evaluate`
ICONIFY_SIDE = 16  # where a set does not say
DRAWN_PX = 256  # several times the size in use, then averaged: the edges are smooth at every size

Drawing = UInt8[ndarray, "s s 4"]


@dataclass(frozen=True, slots=True)
class IconSet:
    """An icons.json of Iconify: names, aliases, SVG bodies; `licence` as its info.json states it."""

    icons: dict[str, dict[str, object]]
    aliases: dict[str, dict[str, object]]
    side: int
    licence: str
    author: str

    def find_svg(self, name: str) -> str | None:
        icon = self.icons.get(str(self.aliases.get(name, {}).get("parent", name)))
        if icon is None:
            return None
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = icon.get("width", self.side), icon.get("height", self.side)
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{DRAWN_PX}" height="{DRAWN_PX}" viewBox="{left} {top} {width} {height}">'
            f"{icon['body']}</svg>"
        )


def fetch(folder: Path) -> None:
    """Bring the icon sets below `folder`; needs npm."""
    packages.fetch(folder, archives=ARCHIVES)


def icon_set(folder: Path, name: str) -> IconSet:
    found = sorted(folder.glob(f"iconify-json-{name}-[0-9]*/package/icons.json"))
    if not found:
        raise InvalidInputError(f"{folder}: no icon set {name!r}; `kallos-train generator fetch` brings it")
    table = json.loads(found[-1].read_text("utf-8"))
    info = json.loads(found[-1].with_name("info.json").read_text("utf-8"))
    return IconSet(
        table["icons"],
        table.get("aliases", {}),
        int(table.get("width", ICONIFY_SIDE)),
        info["license"]["spdx"],
        info["author"]["name"],
    )


def draw(icons: IconSet, names: Sequence[str], side: int, margin: int) -> dict[str, Drawing]:
    """Those of `names` that the set has, each in a transparent square with a margin."""
    found = {}
    for name in names:
        svg = icons.find_svg(name)
        if svg is None:
            continue
        drawn = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=DRAWN_PX, height=DRAWN_PX))
        # Premultiplied while it shrinks: else the colour under fully transparent pixels seeps into the edges.
        with Image.open(io.BytesIO(drawn)) as large:
            small = large.convert("RGBa").resize((side - 2 * margin,) * 2, Image.Resampling.BOX)
        found[name] = np.pad(np.asarray(small), ((margin, margin), (margin, margin), (0, 0)))
    return found
