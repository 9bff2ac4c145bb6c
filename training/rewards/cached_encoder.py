"""One encoder for several rewards: what one of them has looked at, the next one need not.

Dimension key   N pictures or prompts, D embedding
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from indexer.lru import Lru
from indexer.protocols import Encoder

MOST_TEXTS = 4096  # that are remembered: 16 MB of a model that is 1024 wide
Images = Callable[[Sequence[UInt8[ndarray, "_ _ 3"]]], Float32[ndarray, "n d"]]
Texts = Callable[[Sequence[str]], Float32[ndarray, "n d"]]


class CachedEncoder:
    """Unit rows of pictures and prompts. Not for several threads.

    The last batch of pictures is remembered as a whole: parts of a mixture and held-out rewards score the
    same batch one after the other. Single pictures are not, and a prompt is encoded alone: the last bits of a
    row may depend on its batch, and a memory of rows would make a resumed run differ from one that went on.
    """

    def __init__(self, images: Images, texts: Texts) -> None:
        self._encode_images, self._encode_texts = images, texts
        self._batch: tuple[bytes, Float32[ndarray, "n d"]] | None = None
        self._texts: Lru[str, Float32[ndarray, " d"]] = Lru(MOST_TEXTS)

    @classmethod
    def of(cls, encoder: Encoder) -> "CachedEncoder":
        return cls(encoder.encode_images, encoder.encode_texts)

    def images(self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]]) -> Float32[ndarray, "n d"]:
        mark = _mark(pictures)
        if self._batch is None or self._batch[0] != mark:
            self._batch = (mark, self._encode_images(pictures))
        return self._batch[1]

    def texts(self, prompts: Sequence[str]) -> Float32[ndarray, "n d"]:
        return np.stack([self._text(prompt) for prompt in prompts])

    def _text(self, prompt: str) -> Float32[ndarray, " d"]:
        return self._texts.get(prompt, lambda: self._encode_texts([prompt])[0])


def _mark(pictures: Sequence[UInt8[ndarray, "_ _ 3"]]) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    for picture in pictures:
        digest.update(repr(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()
