"""A prompt as the network reads it: the states of its tokens, and their mean.

The sentence model is the builtin encoder's (MiniLM, frozen). Each row is brought to mean 0 and variance 1;
places without a token are zero.

Dimension key   B prompts, L tokens, E width of the sentence model
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.encoders.builtin import SentenceModel

STD_FLOOR = 1e-6  # a row of equal numbers


@dataclass(frozen=True, slots=True)
class Conditioning:
    token_BLE: Float32[ndarray, "b l e"]
    pooled_BE: Float32[ndarray, "b e"]


def condition(sentences: SentenceModel, prompts: Sequence[str], tokens: int) -> Conditioning:
    """Words beyond `tokens` tokens are not read; the empty prompt stands for "anything"."""
    states = [sentences.states(prompt, tokens) for prompt in prompts]
    token_BLE = np.stack(
        [np.pad(_standard(rows_LE), ((0, tokens - len(rows_LE)), (0, 0))) for rows_LE in states]
    )
    return Conditioning(token_BLE, _standard(np.stack([rows_LE.mean(axis=0) for rows_LE in states])))


def _standard(rows: Float32[ndarray, "... e"]) -> Float32[ndarray, "... e"]:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    return np.asarray(centred / (centred.std(axis=-1, keepdims=True) + STD_FLOOR), np.float32)
