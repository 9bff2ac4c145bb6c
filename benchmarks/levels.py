"""What CLIP-like encoders are known for, added to any encoder: queries on different score levels, and hubs.

One number is added to every vector, sin(a), and the rest shrunk by cos(a), with an angle of its own for each
text and each picture:

    score' = cos a_q cos a_x · score + sin a_q sin a_x

So some queries score high with everything, and some pictures with every query. It is a simulation, and is
called one.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from rerank.match.fit import EncodeTexts

ANGLES = (0.3, 1.0)  # radians


class RememberedTexts:
    """`encode`, which sees each text once: a benchmark asks the same ones of many collections."""

    def __init__(self, encode: EncodeTexts) -> None:
        self._encode = encode
        self._known: dict[str, Float32[ndarray, " d"]] = {}

    def __call__(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._encode(new), strict=True))
        return np.array([self._known[text] for text in texts], np.float32)


def levelled(vectors_ND: Float32[ndarray, "n d"]) -> Float32[ndarray, "n d"]:
    """The same vector always gets the same angle."""
    low, high = ANGLES
    angle_N = np.array([low + (high - low) * _share(row_D) for row_D in vectors_ND], np.float32)
    return np.column_stack([vectors_ND * np.cos(angle_N)[:, None], np.sin(angle_N)]).astype(np.float32)


def levelled_texts(encode: EncodeTexts) -> EncodeTexts:
    return lambda texts: levelled(encode(texts))


def _share(row_D: Float32[ndarray, " d"]) -> float:
    # Rounded first: a batch may change the last bits of an encoder's answer.
    digest = hashlib.sha256(np.round(row_D[:8], 3).tobytes()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
