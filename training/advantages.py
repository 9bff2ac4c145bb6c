"""How much better a picture is than what it is compared with: rewards, centred and scaled.

    ddpo     A = (r − mean) / (std + 1e-6) over the latest rewards of the same prompt
    group    A = (r − mean_G) / (std_G + 1e-8) over the pictures of the same prompt in this epoch
    global   A = (r − mean_G) / (std_all + 1e-4): centred by prompt, scaled by the whole epoch

Papers      ddpo: Black et al., arXiv:2305.13301; group: DanceGRPO, arXiv:2505.07818, and PCPO,
            arXiv:2509.25774; global: Flow-GRPO, arXiv:2505.05470
Departures  Where a group's rewards are equal but for rounding (standard deviation below 1e-6), A is 0;
            divided by the small numbers above, rounding would become an advantage. `group` scales by the
            population's standard deviation, as PCPO's code does (DanceGRPO's divides by G − 1).

Dimension key   N pictures
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

Rewards = Float64[ndarray, " n"]

EQUAL = 1e-6  # rewards that differ by no more are the same


def group(reward_N: Rewards, prompt_N: Sequence[str]) -> Rewards:
    advantage_N = np.zeros(len(reward_N))
    for index in _groups(prompt_N):
        advantage_N[index] = _scaled(reward_N[index], reward_N[index], 1e-8)
    return advantage_N


def global_std(reward_N: Rewards, prompt_N: Sequence[str]) -> Rewards:
    centred_N = np.array(reward_N, np.float64)
    for index in _groups(prompt_N):
        centred_N[index] -= reward_N[index].mean()
    std = reward_N.std()
    return np.zeros(len(reward_N)) if std < EQUAL else centred_N / (std + 1e-4)


class PromptBuffers:
    """DDPO's memory: each prompt's latest `size` rewards. Below `least` of them the epoch's stand in."""

    def __init__(self, size: int = 32, least: int = 16) -> None:
        self._size = size
        self._least = least
        self._kept: dict[str, deque[float]] = {}

    def advantages(self, reward_N: Rewards, prompt_N: Sequence[str]) -> Rewards:
        """Remember these, then compare them with what is remembered."""
        advantage_N = np.zeros(len(reward_N))
        for index in _groups(prompt_N):
            kept = self._kept.setdefault(prompt_N[index[0]], deque(maxlen=self._size))
            kept.extend(reward_N[index].tolist())
            against = reward_N if len(kept) < self._least else np.array(kept)
            advantage_N[index] = _scaled(reward_N[index], against, 1e-6)
        return advantage_N

    def state(self) -> dict[str, list[float]]:
        return {prompt: list(kept) for prompt, kept in self._kept.items()}

    def restore(self, state: dict[str, list[float]]) -> None:
        self._kept = {prompt: deque(kept, maxlen=self._size) for prompt, kept in state.items()}


def _groups(prompt_N: Sequence[str]) -> list[ndarray]:
    """Indices of each prompt's pictures, prompts in order of their first."""
    found: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompt_N):
        found.setdefault(prompt, []).append(number)
    return [np.array(numbers) for numbers in found.values()]


def _scaled(reward_N: Rewards, against_M: Rewards, floor: float) -> Rewards:
    std = against_M.std()
    return np.zeros(len(reward_N)) if std < EQUAL else (reward_N - against_M.mean()) / (std + floor)
