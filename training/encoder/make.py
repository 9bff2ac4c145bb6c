"""A builtin encoder's file: a head that is learned from captioned pictures, and axes for it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy import ndarray
from safetensors.numpy import save_file

from indexer.encoders.builtin import Backbone, BuiltinEncoder, SentenceModel
from indexer.sources.captioned import Captioned
from training.encoder.axes import DRAWINGS, PHOTOGRAPHS, FittedAxis, fit_age, fit_axes
from training.encoder.fit import learn_head
from training.encoder.recipe import Recipe
from training.encoder.spoil import Pixels
from training.encoder.views import look

HELD = 5  # one of so many pictures, where no others are held out


def make(
    recipe: Recipe,
    drawings: Sequence[Captioned],
    photographs: Sequence[Captioned],
    held: Sequence[Captioned],
    folder: Path,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Write the head of `recipe` beside the backbone and the tokenizer in `folder`; return held-out figures.

    Numbers are stored as float16. `held` are photographs that nothing is learned from.
    """
    backbone, encoder = Backbone(folder, None), BuiltinEncoder(recipe.model_id, folder=folder)
    drawn = look(encoder, backbone, drawings)
    photographed = (
        look(encoder, backbone, photographs, n_crops=recipe.n_crops, seed=seed) if photographs else None
    )
    head = learn_head(drawn, photographed, SentenceModel(folder, None), recipe, seed=seed)

    def embed(pixels: list[Pixels]) -> ndarray:
        return head.images(*backbone.run([encoder.prepare(picture) for picture in pixels]))

    rng = np.random.default_rng(seed)
    train, tested = [], {}
    for name, every, most, others in (
        ("drawings", drawings, DRAWINGS, []),
        ("photographs", photographs, PHOTOGRAPHS, held),
    ):
        if every:
            order = [every[i] for i in rng.permutation(len(every))[:most]]
            cut = 0 if others else len(order) // HELD
            train += order[cut:]
            tested[name] = others or order[:cut]
    axes = fit_axes(train, tested, embed, seed) | {"age": fit_age(drawings, embed)}
    _save(folder / f"{recipe.model_id}.safetensors", asdict(head), axes)
    return {
        f"{name}: {of}, {what}": share
        for name, axis in axes.items()
        for of, by_what in axis.right.items()
        for what, share in by_what.items()
    }


def _save(path: Path, tensors: dict[str, ndarray], axes: dict[str, FittedAxis]) -> None:
    """Axes stay float32, so that they are of unit length."""
    stored = {name: np.array(array, np.float16, order="C") for name, array in tensors.items()}
    stored |= {f"axis.{name}": axis.direction_D for name, axis in axes.items()}
    cards = {name: axis.card for name, axis in axes.items()}
    save_file(stored, path, {"axes": json.dumps(cards)})
