"""How a configuration file names a reward.

[reward]
name = "mixture"

[[reward.parts]]
weight = 2.0
scale = "standardised"
mean = -0.02                       # of that reward, over pictures that you choose
std = 0.11
reward = { name = "aesthetic" }

[[reward.parts]]
weight = 0.5
scale = "raw"
reward = { name = "agreement", encoder = "builtin" }

[[held_out]]
name = "colourfulness"
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from indexer.errors import InvalidInputError

SCALES = ("raw", "standardised")


@dataclass(frozen=True, slots=True)
class PartConfig:
    """One summand of a mixture. `mean` and `std` are given when, and only when, `scale` is "standardised"."""

    reward: "RewardConfig"
    weight: float
    scale: str
    mean: float = 0.0
    std: float = 0.0

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InvalidInputError(f"scale is {self.scale!r}: expected one of {', '.join(SCALES)}")
        if not math.isfinite(self.weight) or self.weight == 0:
            raise InvalidInputError(f"weight is {self.weight}: expected a finite number other than 0")
        if self.scale == "raw" and (self.mean, self.std) != (0.0, 0.0):
            raise InvalidInputError(f"mean {self.mean} and std {self.std} are given for a raw part")
        if self.scale == "standardised" and not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise InvalidInputError(
                f"mean is {self.mean} and std is {self.std}: a standardised part needs a finite mean and a "
                "positive std, as `kallos-train rewards score` prints them"
            )


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """One reward. Which keys beside `name` a reward knows is in `training.rewards.registry`."""

    name: str
    encoder: str = "builtin"
    head: str = ""  # file of an aesthetic head
    activation: str = ""  # between its layers, where its layout does not tell
    weights: str = ""  # folder or file of a preference model; else the Hugging Face cache is searched
    data_dir: str = ""
    collection: str = "default"
    quality: int = 95  # of a JPEG: DDPO's
    batch: int = 16  # pictures a request
    timeout_s: float = 60.0  # for one request, with all its retries
    low: float = 0.0  # these four: what the card of a remote reward says
    high: float = 1.0
    needs_prompt: bool = True
    licence: str = "unknown"
    parts: tuple[PartConfig, ...] = ()

    def given(self) -> set[str]:
        """Names of the keys that are not at their defaults."""
        return {
            part.name
            for part in fields(self)
            if part.name != "name" and getattr(self, part.name) != part.default
        }

    def leaves(self) -> Iterator["RewardConfig"]:
        """What a mixture consists of, through all levels; otherwise the reward itself."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.reward.leaves()
