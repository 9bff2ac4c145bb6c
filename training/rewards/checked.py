"""The promises of `Reward`, held where every reward passes through.

Dimension key   N pictures
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from indexer.errors import InvalidInputError, UnavailableError
from training.rewards.reward import Reward, RewardCard


@dataclass(frozen=True, slots=True)
class CheckedReward:
    """`inner`, whose input is looked at before and whose numbers are looked at after."""

    inner: Reward

    @property
    def card(self) -> RewardCard:
        return self.inner.card

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        """As `inner`.

        Raises:
            InvalidInputError: Not one prompt a picture, or something that is no picture.
            UnavailableError: `inner` gave another number of scores, or one that is not finite.
        """
        name = self.card.name
        if len(pictures) != len(prompts):
            raise InvalidInputError(
                f"reward {name}: {len(pictures)} pictures came with {len(prompts)} prompts"
            )
        for picture in pictures:
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
                raise InvalidInputError(
                    f"reward {name}: a picture is {picture.dtype} {list(picture.shape)}: "
                    "expected uint8 [H, W, 3]"
                )
        if not pictures:
            return np.zeros(0)
        score_N = np.asarray(self.inner.score(pictures, prompts), np.float64)
        if score_N.shape != (len(pictures),) or not np.isfinite(score_N).all():
            raise UnavailableError(
                f"reward {name} gave {score_N.size} scores for {len(pictures)} pictures, "
                f"{int((~np.isfinite(score_N)).sum())} of them not finite"
            )
        return score_N
