"""Pictures of nameable things for an encoder with hubs and score levels, as CLIP-like ones have them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.typing import NDArray

from indexer.collection.collection import Collection
from indexer.protocols import ShippedAxis
from tests.support.pictures import new_image

DIM = 24
LIKENESS = 2.2  # of a text or a picture to its thing, in lengths of its noise


class ConceptEncoder:
    """A text that ends in "thing N" points where the picture of thing N does; any other one nowhere in
    particular. Every text has a level and every picture a hubness of its own.
    """

    model_id = "concepts-1"
    dim = DIM
    licence = "Apache-2.0"

    def prepare(self, pixels_HW3: ndarray) -> NDArray[np.generic]:
        raise AssertionError("these pictures have no pixels")

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]:
        raise AssertionError("these pictures have no pixels")

    def encode_images(self, pictures: Sequence[ndarray]) -> Float32[ndarray, "n d"]:
        raise AssertionError("these pictures have no pixels")

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        return np.stack([_vector(text.rpartition("thing ")[2], text) for text in texts])

    def fits(self, text: str) -> bool:
        return True

    def axes(self) -> Mapping[str, ShippedAxis]:
        return {}


def caption(thing: int) -> str:
    return f"thing {thing}"


def picture_vectors(things: Sequence[int]) -> Float32[ndarray, "n d"]:
    return np.stack([_vector(str(thing), f"picture {thing}") for thing in things])


def collection_of(folder: Path, things: Sequence[int], *, captioned: bool = True) -> Collection:
    collection = Collection.open(folder, model_id=ConceptEncoder.model_id, dim=DIM)
    add_things(collection, things, captioned=captioned)
    return collection


def add_things(collection: Collection, things: Sequence[int], *, captioned: bool = True) -> None:
    images = [new_image(n, caption=caption(n)) if captioned else new_image(n) for n in things]
    collection.add(images, picture_vectors(things))


def _vector(thing: str, name: str) -> Float32[ndarray, " d"]:
    meaning_D, noise_D = _draw(f"meaning of {thing}"), _draw(name)
    content_D = LIKENESS * meaning_D + noise_D
    angle = 0.3 + 0.7 * (_draw(f"level of {name}")[0] > 0)
    content_D = content_D / np.linalg.norm(content_D)
    return np.append(content_D * np.cos(angle), np.sin(angle)).astype(np.float32)


def _draw(name: str) -> ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    draw_D = np.random.default_rng(seed).standard_normal(DIM - 1)
    return draw_D / np.linalg.norm(draw_D)
