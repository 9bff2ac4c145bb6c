"""Rewards that a run is judged by, apart from those that it is trained on.

Dimension key   N probes
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from indexer.errors import InvalidInputError
from training.rewards.config import RewardConfig
from training.rewards.registry import RewardLoader
from training.rewards.reward import Reward

PROBES, SIDE = 12, 64
PROMPT = "a red kite over green hills"
SAME = 1 - 1e-6  # correlation; two numbers that merely go together stay far below on patterns of this kind


@dataclass(frozen=True, slots=True)
class Declared:
    trained: Reward
    held_out: tuple[Reward, ...]


def declare(trained: RewardConfig, held_out: Sequence[RewardConfig], loader: RewardLoader) -> Declared:
    """Load both.

    Raises InvalidInputError where a held-out reward, or a part of one, is also trained on: by its name, or
    because it gives the same numbers up to scale, offset and sign on pictures that are made for this.
    """
    for other in held_out:
        for own in trained.leaves():
            for part in other.leaves():
                if own == part or _are_one(loader.load(own), loader.load(part)):
                    raise InvalidInputError(
                        f"reward {part.name!r} is held out, but {own.name!r}, which is trained on, is the "
                        "same number: a run cannot be judged by what it was trained on"
                    )
    return Declared(loader.load(trained), tuple(loader.load(config) for config in held_out))


def _are_one(first: Reward, second: Reward) -> bool:
    pictures, prompts = probes(), [PROMPT] * PROBES
    score_2N = np.stack([first.score(pictures, prompts), second.score(pictures, prompts)])
    if not (score_2N.std(axis=1) > 0).all():
        return False  # a constant says nothing about what it is
    return bool(abs(np.corrcoef(score_2N)[0, 1]) > SAME)


def probes() -> list[UInt8[ndarray, "s s 3"]]:
    """Patterns from coarse to fine, in random colours; the same ones always."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(PROBES):
        cells = 2 ** (number % 6 + 1)
        tile = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        pictures.append(tile.repeat(SIDE // cells, 0).repeat(SIDE // cells, 1))
    return pictures
