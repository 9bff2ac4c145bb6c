"""The stores that are asked. Making them knows the insides of Kallos; asking them does not.

Dimension key   N pictures, D embedding, T themes
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.random import Generator

from indexer.ann.index import Family
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, compact
from indexer.encoders.registry import load_encoder
from indexer.types import ImageId, JSONValue, NewImage
from tests.golden.answers.model import write_model

OLD_STORE = Path(__file__).parents[1] / "store-v1"
BATCH = 4_000
THEMES = 60
COLOURS = ("red", "green", "blue", "black", "white", "yellow")
THINGS = ("boat", "bird", "house", "tree", "child", "bicycle", "river", "street", "dog", "mountain")
TAGS = ("sea", "snow", "city", "night", "summer", "family", "sport", "food")
MAKERS = ("Canon", "Nikon", "Leica")
FORMATS = ("jpeg", "png", "webp")
FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Store:
    """`model` is what KALLOS_MODEL takes. `learns`: it has pictures enough to say when nothing matches."""

    name: str
    data_dir: Path
    model: str
    dim: int
    learns: bool = True


@dataclass(frozen=True, slots=True)
class Recipe:
    """`rows` before the index of `family` is made, `behind` after it."""

    dim: int
    rows: int
    behind: int
    family: Family | None
    model: Callable[[Path], str]


def _tiny(model_id: str, dim: int) -> Callable[[Path], str]:
    return lambda root: write_model(root / f"model-{model_id}", model_id, dim)


RECIPES = {
    "plain": Recipe(48, 2_400, 100, None, _tiny("tiny-48", 48)),
    "ivf": Recipe(640, 40_000, 5_000, "ivf_sq8", lambda root: "builtin-1"),  # as when they were recorded
    "hnsw": Recipe(64, 34_000, 2_000, "hnsw", _tiny("tiny-64", 64)),
}
V1_MODEL = _tiny("test-1", 8)
NAMES = (*RECIPES, "v1")


def store_at(root: Path, name: str) -> Store:
    """As `make_store` left it."""
    data_dir = root / "stores" / name
    if name == "v1":
        return Store(name, data_dir, V1_MODEL(root), 8, learns=False)
    recipe = RECIPES[name]
    return Store(name, data_dir, recipe.model(root), recipe.dim)


def make_store(root: Path, name: str) -> Store:
    """Write the data directory, with deletions and edits before and behind the index."""
    store = store_at(root, name)
    if name == "v1":
        shutil.copytree(OLD_STORE, store.data_dir)
        return store
    recipe, rng = RECIPES[name], np.random.default_rng(len(name))
    encoder = load_encoder(store.model, device="cpu", threads=2)
    theme_TD = _themes(encoder.encode_texts([f"a {c} {t}" for c in COLOURS for t in THINGS]), rng)
    collection = Collection.open(store.data_dir, model_id=encoder.model_id, dim=encoder.dim)
    try:
        ids = _add(collection, range(recipe.rows), theme_TD, rng)
        _edit(collection, ids, rng)
        compact(collection, Aims(1 << 30, threads=2), family=recipe.family, reclaim=False)
        ids += _add(collection, range(recipe.rows, recipe.rows + recipe.behind), theme_TD, rng)
        _edit(collection, ids, rng)
    finally:
        collection.close()
    return store


def _themes(words_TD: Float32[ndarray, "t d"], rng: Generator) -> Float32[ndarray, "t d"]:
    """Half of each theme is what words for it look like, so that words find something."""
    noise_TD = rng.standard_normal(words_TD.shape)
    return words_TD[:THEMES] + noise_TD[:THEMES] / np.linalg.norm(noise_TD[:THEMES], axis=1, keepdims=True)


def _add(
    collection: Collection, numbers: range, theme_TD: Float32[ndarray, "t d"], rng: Generator
) -> list[ImageId]:
    ids: list[ImageId] = []
    for start in range(numbers.start, numbers.stop, BATCH):
        batch = range(start, min(start + BATCH, numbers.stop))
        theme_N = rng.integers(THEMES, size=len(batch))
        noise_ND = rng.standard_normal((len(batch), theme_TD.shape[1])) / np.sqrt(theme_TD.shape[1])
        rows_ND = theme_TD[theme_N] + 0.9 * noise_ND
        for at in range(20, len(batch), 20):  # copies, and all but copies
            rows_ND[at] = rows_ND[at - 9] + (at % 40 == 0) * 0.05 * noise_ND[at]
        rows_ND = (rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)).astype(np.float32)
        images = [_image(number, int(theme), rng) for number, theme in zip(batch, theme_N, strict=True)]
        ids += collection.add(images, rows_ND)
    return ids


def _edit(collection: Collection, ids: list[ImageId], rng: Generator) -> None:
    gone = rng.choice(ids, size=len(ids) // 50, replace=False).tolist()
    collection.delete(gone)
    ids[:] = sorted(set(ids) - set(gone))
    for image_id in rng.choice(ids, size=8, replace=False).tolist():
        collection.patch(image_id, {"caption": f"edited {image_id}", "stars": 5})


def _image(number: int, theme: int, rng: Generator) -> NewImage:
    file_format = FORMATS[number % 3]
    days = float(rng.integers(9_000))
    return NewImage(
        uri=f"/pictures/{number % 12:02}/{number:05}.{file_format}",
        sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        size=10_000 + 37 * number % 90_000,
        mtime_ns=1,
        width=int(rng.choice([320, 640, 1024, 4000])),
        height=int(rng.choice([240, 480, 768, 3000])),
        format=file_format,
        taken_at=FIRST_DAY + days * DAY_S if rng.random() < 0.8 else None,
        metadata=_metadata(number, theme, rng),
    )


def _metadata(number: int, theme: int, rng: Generator) -> dict[str, JSONValue]:
    colour, thing = COLOURS[theme // len(THINGS)], THINGS[theme % len(THINGS)]
    every: dict[str, JSONValue] = {
        "album": f"album {number % 23}",
        "flag": bool(rng.random() < 0.3),
        "measured": {
            "dhash": f"{(theme << 56 | (number // 3 * 0x9E3779B97F4A7C15) >> 8 & (1 << 56) - 1):016x}",
            "brightness": round(float(rng.random()), 4),
            "sharpness": round(float(rng.random() * 5), 3),
            "colourfulness": round(float(rng.random() * 120), 2),
        },
    }
    some: dict[str, JSONValue] = {
        "caption": f"a {colour} {thing} number {number % 50}",
        "stars": int(rng.integers(1, 6)),
        "price": round(float(rng.random() * 100), 2),
        "tags": [*rng.choice(TAGS, size=int(rng.integers(1, 4)), replace=False).tolist()],
        "camera": {"make": MAKERS[number % 3], "iso": int(rng.choice([100, 200, 400, 1600]))},
        "person": f"person {int(rng.integers(9))}",
    }
    kept = {name: value for name, value in some.items() if rng.random() < 0.75}
    if rng.random() < 0.5:
        kept |= {
            "latitude": round(float(rng.uniform(-80, 80)), 4),
            "longitude": round(float(rng.uniform(-180, 180)), 4),
        }
    return every | kept
