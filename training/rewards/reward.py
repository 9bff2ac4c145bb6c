"""What a reward is.

Dimension key   N pictures, S side in pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float64, UInt8
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class RewardCard:
    """What to know before trusting a number. `low` and `high` are what is usual, not limits."""

    name: str
    low: float
    high: float
    needs_prompt: bool
    licence: str
    source: str  # weights or formula, with the paper
    weakness: str = ""  # what raises the number without a better picture


class Reward(Protocol):
    """Larger is better, always. Deterministic; pictures do not influence each other."""

    @property
    def card(self) -> RewardCard: ...

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        """One number a picture, finite. `prompts` are those that it was asked for with, one for each.

        Raises UnavailableError: what it needs does not answer; CorruptStoreError: its weights are damaged.
        """
