"""A generated collection on disk: the same on every machine, taken up where an earlier call left it.

Dimension key   N rows, D embedding, P poles
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float16, Float32, Int64
from numpy import ndarray

from benchmarks.vectors import VectorSource
from indexer.collection.collection import Collection
from indexer.types import JSONValue, NewImage

BLOCK = 50_000


def open_generated(data_dir: Path, dim: int) -> Collection:
    return Collection.open(data_dir, model_id=f"generated-{dim}", dim=dim)


def fill(data_dir: Path, count: int, dim: int, model_id: str | None = None) -> Collection:
    """A collection of `count` generated pictures.

    Field `uniform` has nothing to do with the vector; `theme` is its theme, and `lean_p` says how far it
    leans to pole p of the source: a filter on it is as correlated with a query near that pole as filters get.
    """
    collection = Collection.open(data_dir, model_id=model_id or f"generated-{dim}", dim=dim)
    have = collection.state().slots
    source = VectorSource(dim)
    for chunk in source.chunks(count, after=have):
        lean_NP = chunk.vectors_ND @ source.pole_PD.T
        images = [
            numbered_image(chunk.first + i, _fields(chunk.first + i, int(theme), lean_NP[i]))
            for i, theme in enumerate(chunk.theme_N)
        ]
        collection.add(images, chunk.vectors_ND)
    return collection


def rows_of(data_dir: Path, dim: int) -> Float16[ndarray, "n d"]:
    return np.memmap(data_dir / "default" / "vectors.f16", np.float16, "r").reshape(-1, dim)


def row_numbers(ids_K: Int64[ndarray, " k"]) -> Int64[ndarray, " k"]:
    """Where pictures lie in `rows_of`: they were added in order to an empty data directory."""
    return ids_K - 1


def blocks(rows_ND: Float16[ndarray, "n d"]) -> "Iterator[tuple[int, Float16[ndarray, 'b d']]]":
    """(first row, rows in memory), in order."""
    for start in range(0, len(rows_ND), BLOCK):
        yield start, np.array(rows_ND[start : start + BLOCK])


def numbered_image(number: int, metadata: Mapping[str, JSONValue] = MappingProxyType({})) -> NewImage:
    """A row that no file stands behind."""
    return NewImage(
        uri=f"/generated/{number}.jpg",
        sha256=f"{number:064x}",
        size=100_000,
        mtime_ns=1,
        width=640,
        height=480,
        format="jpeg",
        taken_at=float(number),
        metadata=metadata,
    )


def _fields(number: int, theme: int, lean_P: Float32[ndarray, " p"]) -> dict[str, JSONValue]:
    leans = {f"lean_{pole}": round(float(lean), 5) for pole, lean in enumerate(lean_P)}
    return {"theme": theme, "uniform": (number * 7919) % 100_003 / 100_003, **leans}
