"""A collection of the tiny CLIP with axes whose order of two pictures is known."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from safetensors.numpy import save_file

from indexer.collection.collection import Collection
from indexer.imaging.decode import at_scale
from indexer.imaging.measures import MEASURED_SIDE, measure
from indexer.tables.axes import AxisStore
from rerank.axes.fit_axis import FromField, FromHead, FromPrompts, fit_axis
from tests.support.files import noise
from tests.support.pictures import new_image
from tests.support.tiny_clip import DIM, tiny_encoder
from tests.support.tiny_rewards import liked, other


def head_file(folder: Path) -> Path:
    """A head that takes `liked()` for more than `other()`: its weights are their difference."""
    liked_D, other_D = tiny_encoder().encode_images([liked(), other()])
    path = folder / "head.safetensors"
    save_file({"weight": (liked_D - other_D)[None], "bias": np.array([5.0], np.float32)}, path)
    return path


def indexed() -> list[UInt8[ndarray, "h w 3"]]:
    """What the collection holds, by rising id."""
    return [liked(), other(), *(np.asarray(noise(seed, (64, 64))) for seed in range(6))]


def taught_collection(folder: Path) -> None:
    """A collection with axes of each kind: a direction, a network, a measured field, another field."""
    encoder = tiny_encoder()
    opened = Collection.open(folder, model_id=encoder.model_id, dim=DIM)
    shown = indexed()
    rows = [
        new_image(n, measured=dict(asdict(measure(at_scale(picture, MEASURED_SIDE)))), price=n)
        for n, picture in enumerate(shown)
    ]
    opened.add(rows, encoder.encode_images(shown))
    store = AxisStore(opened.database, opened.name)
    liked_D, other_D = encoder.encode_images([liked(), other()])
    like = fit_axis("like", FromPrompts(("a",), ("b",)), opened, encoder)
    direction_D = (liked_D - other_D) / np.linalg.norm(liked_D - other_D)
    store.put(replace(like, direction_D=direction_D))
    # Two layers with a ReLU that is never cut off for these: increasing along the same direction.
    layers = {
        "0.weight": direction_D[None],
        "0.bias": np.array([2.0], np.float32),
        "1.weight": np.array([[3.0]], np.float32),
        "1.bias": np.array([1.0], np.float32),
    }
    store.put(fit_axis("head", FromHead(layers, "relu"), opened, encoder))
    store.put(fit_axis("colour", FromField("measured.colourfulness"), opened, encoder))
    store.put(fit_axis("price", FromField("price"), opened, encoder))
    opened.close()
