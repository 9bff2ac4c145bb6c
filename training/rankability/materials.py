"""Labelled pictures that package managers deliver. docs/rankability.md says what each may be used for.

`trees`                  aerial photographs with every tree marked by hand (deepforest, PyPI), cut into tiles
`noto`, `twemoji`, `fluent`   emoji: the stage of life, and how many people are drawn, as Unicode names them
`wallpapers`, `stamps`   photographs and drawings (Debian) with attributes that are measured on the pixels
`blurred`, `compressed`, `faded`   the wallpapers again, each harmed with a known strength
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from defusedxml import ElementTree
from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator
from PIL import Image

from indexer.imaging.decode import Limits, decode
from training import packages
from training.encoder import spoil
from training.rankability.measured import MEASURED
from training.rankability.table import GROUP, IMAGE

WHEELS = ("deepforest==2.1.0",)
ARCHIVES = (
    "emoji-datasource@16.0.0",
    "emoji-datasource-google@16.0.0",
    "emoji-datasource-twitter@16.0.0",
    "@lobehub/fluent-emoji-3d@1.1.0",
)
DEBIAN = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "tuxpaint-stamps-default",
)
EMOJI = {
    "noto": ("emoji-datasource-google-*/package/img/google/64", ".png"),
    "twemoji": ("emoji-datasource-twitter-*/package/img/twitter/64", ".png"),
    "fluent": ("lobehub-fluent-emoji-3d-*/package/assets", ".webp"),
}
STAGES = {  # of life; by the short name that emoji-datasource gives
    0: ("baby",),
    1: ("boy", "girl", "child"),
    2: ("man", "woman", "adult", "person_with_blond_hair", "blond-haired-woman", "blond-haired-man"),
    3: ("older_man", "older_woman", "older_adult"),
}
STAGE_OF = {name: stage for stage, names in STAGES.items() for name in names}
COUPLES = ("holding_hands", "heart", "kiss")
PEOPLE = frozenset(("1F466", "1F467", "1F468", "1F469", "1F9D1", "1F9D2"))
PROMPTS = {
    "trees": (("an aerial photo of a forest", "many trees"), ("an aerial photo of bare ground", "no trees")),
    "age": (("an old person", "grandfather, grandmother"), ("a baby", "a small child")),
    "people": (("a group of people", "a family with children"), ("one person", "a single face")),
    "colourfulness": (("a colourful picture", "vivid colours"), ("a black and white picture", "grey")),
    "brightness": (("a bright picture", "white light"), ("a dark picture", "night")),
    "sharpness": (("a sharp picture", "fine detail in focus"), ("a blurry picture", "out of focus")),
    "complexity": (("a picture full of detail", "a busy texture"), ("a plain picture", "an empty surface")),
    "blur": (("a blurry picture", "out of focus"), ("a sharp picture", "fine detail in focus")),
    "compression": (("a picture with JPEG artefacts", "low quality"), ("a clean picture", "high quality")),
    "fading": (("a faded old photograph", "a vintage sepia print"), ("a recent digital photo", "modern")),
}  # fmt: skip

TREE_TILE = 200  # pixels; 20 m of forest
TREE_BLOCK = 2  # tiles along a side that stay together: a crown may reach into the next tile
WALLPAPER_WIDTH, WALLPAPER_TILE = 1280, 320
STAMP_STEP = 2  # half of them tell as much
QUALITY = 95  # of the pictures that are written: as good as unharmed

Row = dict[str, str | float]
Pixels = UInt8[ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    source: str
    pixels: Pixels


def fetch(folder: Path) -> list[Path]:
    """Bring the packages, unpack them below `folder`, write one CSV a set and prompts.json beside them."""
    packages.fetch(folder, wheels=WHEELS, archives=ARCHIVES, debian=DEBIAN)
    return build(folder)


def build(folder: Path) -> list[Path]:
    """The CSVs of what lies unpacked below `folder`."""
    wallpapers = list(_wallpapers(folder))
    written = [_write(folder, "trees", _trees(folder))]
    written += [_write(folder, name, _emoji(folder, *where)) for name, where in EMOJI.items()]
    written += [
        _write(folder, "wallpapers", _measured_tiles(folder, wallpapers)),
        _write(folder, "stamps", _stamps(folder)),
        _write(folder, "blurred", _harmed(folder, "blur", wallpapers)),
        _write(folder, "compressed", _harmed(folder, "compression", wallpapers)),
        _write(folder, "faded", _harmed(folder, "fading", wallpapers)),
    ]
    prompts = {name: {"high": high, "low": low} for name, (high, low) in PROMPTS.items()}
    (folder / "prompts.json").write_text(json.dumps(prompts, indent=1) + "\n")
    return written


def _trees(folder: Path) -> Iterator[Row]:
    for marked in sorted((folder / "wheels/deepforest/data").glob("*.xml")):
        # Not through `decode`, which may halve a large picture: the marks are in its own pixels.
        with Image.open(marked.with_suffix(".png")) as image:
            pixels = np.asarray(image.convert("RGB"))
        centres = np.array(_centres(marked))
        height, width = pixels.shape[:2]
        for top in range(0, height - TREE_TILE + 1, TREE_TILE):
            for left in range(0, width - TREE_TILE + 1, TREE_TILE):
                inside = ((centres >= (left, top)) & (centres < (left + TREE_TILE, top + TREE_TILE))).all(
                    axis=1
                )
                tile = pixels[top : top + TREE_TILE, left : left + TREE_TILE]
                block = f"{marked.stem} {top // TREE_TILE // TREE_BLOCK} {left // TREE_TILE // TREE_BLOCK}"
                yield {
                    IMAGE: _save(folder, f"trees/{marked.stem}-{top}-{left}", tile),
                    "trees": int(inside.sum()),
                    GROUP: block,
                }


def _centres(marked: Path) -> list[tuple[float, float]]:
    """x, y of each tree that was marked in a Pascal VOC file."""
    boxes = [tree.find("bndbox") for tree in ElementTree.parse(marked).iter("object")]
    sides = [[float(box.findtext(side)) for side in ("xmin", "xmax", "ymin", "ymax")] for box in boxes]
    return [((x0 + x1) / 2, (y0 + y1) / 2) for x0, x1, y0, y1 in sides]


def _emoji(folder: Path, where: str, suffix: str) -> Iterator[Row]:
    """No groups: the same person in another skin tone may be on the other side of a split."""
    (drawings,) = folder.glob(where)
    (data,) = folder.glob("emoji-datasource-16*/package/emoji.json")
    for entry in sorted(json.loads(data.read_text()), key=lambda entry: str(entry["unified"])):
        people = _people(entry)
        if people is None:
            continue
        for code in _codes(entry):
            for name in (code, code.replace("-fe0f", "")):
                path = drawings / f"{name}{suffix}"
                if path.is_file():
                    stage = STAGE_OF.get(entry["short_name"], "")
                    yield {IMAGE: str(path.relative_to(folder)), "age": stage, "people": people}
                    break


def _people(entry: Mapping[str, str]) -> int | None:
    """How many people an emoji shows; None for one that is of no use here."""
    if entry["short_name"] in STAGE_OF:
        return 1
    if entry["subcategory"] != "family":
        return None
    if any(word in entry["short_name"] for word in COUPLES) or entry["unified"] == "1F48F":
        return 2
    return sum(part in PEOPLE for part in entry["unified"].split("-")) or None


def _codes(entry: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[str]:
    """File names of the emoji and of its skin tones, as far as all people in it have the same."""
    tones = entry.get("skin_variations", {})
    same = [tone["image"] for key, tone in tones.items() if len(set(key.split("-"))) == 1]
    return [Path(name).stem for name in (str(entry["image"]), *same)]


def _wallpapers(folder: Path) -> Iterator[Tile]:
    """Tiles of every JPEG; dark and upright variants of one picture share its name."""
    root = folder / "debian/usr/share"
    for path in sorted(
        (*root.glob("backgrounds/**/*.jpg"), *root.glob("wallpapers/*/contents/images/*.jpg"))
    ):
        if path.is_symlink():
            continue
        source = path.parts[-4] if "contents" in path.parts else path.stem.partition("_")[0]
        image = Image.fromarray(_pixels(path))
        image = image.resize((WALLPAPER_WIDTH, round(image.height * WALLPAPER_WIDTH / image.width)))
        pixels = np.asarray(image)
        for top in range(0, image.height - WALLPAPER_TILE + 1, WALLPAPER_TILE):
            # Every second one, like the white squares of a chessboard: neighbours look alike.
            for left in range(top % (2 * WALLPAPER_TILE), image.width, 2 * WALLPAPER_TILE):
                tile = pixels[top : top + WALLPAPER_TILE, left : left + WALLPAPER_TILE]
                yield Tile(f"{source}-{path.stem}-{top}-{left}", source, tile)


def _measured_tiles(folder: Path, tiles: Sequence[Tile]) -> Iterator[Row]:
    for tile in tiles:
        saved = _save(folder, f"wallpapers/{tile.name}", tile.pixels)
        yield {IMAGE: saved, **_measures(tile.pixels), GROUP: tile.source}


def _stamps(folder: Path) -> Iterator[Row]:
    """Without letters, digits and signs; the folder is the group, since its pictures are one series."""
    root = folder / "debian/usr/share/tuxpaint/stamps"
    found = (path for path in root.rglob("*.png") if "symbols" not in path.parts and not path.is_symlink())
    for path in sorted(found)[::STAMP_STEP]:
        yield {
            IMAGE: str(path.relative_to(folder)),
            **_measures(_pixels(path)),
            GROUP: str(path.parent.relative_to(root)),
        }


def _measures(pixels: Pixels) -> dict[str, float]:
    return {name: round(measure(pixels), 4) for name, measure in MEASURED.items()}


def _harmed(folder: Path, kind: str, tiles: Sequence[Tile]) -> Iterator[Row]:
    """Each tile once, with a strength drawn evenly from 0 to 1: the label."""
    rng = np.random.default_rng(sum(kind.encode()))
    for tile in tiles:
        # JPEG has whole qualities: finer steps would be labels without a difference.
        strength = float(rng.integers(21)) / 20 if kind == "compression" else float(rng.uniform())
        pixels = harmed(tile.pixels, kind, strength, rng)
        saved = _save(folder, f"{kind}/{tile.name}", pixels)
        yield {IMAGE: saved, kind: round(strength, 4), GROUP: tile.source}


def harmed(picture: Pixels, kind: str, strength: float, rng: Generator) -> Pixels:
    """`kind` is "blur", "compression" or "fading"."""
    if kind == "fading":
        return spoil.fade(picture, strength, rng)
    harm = spoil.blur if kind == "blur" else spoil.compress
    return np.asarray(harm(Image.fromarray(picture), strength))


def _pixels(path: Path) -> Pixels:
    return decode(path.read_bytes(), Limits.from_memory(), name=path.name).pixels


def _save(folder: Path, name: str, pixels: Pixels) -> str:
    path = folder / "pictures" / f"{name.replace(' ', '_')}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=QUALITY, subsampling=0)
    return str(path.relative_to(folder))


def _write(folder: Path, name: str, rows: Iterable[Row]) -> Path:
    path = folder / f"{name}.csv"
    found = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    return path
