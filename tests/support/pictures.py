"""Rows and vectors for tests of the storage, from a seed."""

import hashlib

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.types import JSONValue, NewImage


def unit_vectors(count: int, dim: int, seed: int = 0) -> Float32[ndarray, "n d"]:
    """Clustered like embeddings of pictures: a few themes, and noise."""
    rng = np.random.default_rng(seed)
    themes = rng.standard_normal((max(2, count // 20), dim))
    vectors = themes[rng.integers(len(themes), size=count)] + 0.7 * rng.standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def new_image(name: str | int, *, taken_at: float | None = None, **metadata: JSONValue) -> NewImage:
    return NewImage(
        uri=f"/pictures/{name}.png",
        sha256=hashlib.sha256(str(name).encode()).hexdigest(),
        size=1000,
        mtime_ns=1,
        width=640,
        height=480,
        format="png",
        taken_at=taken_at,
        metadata=metadata,
    )
