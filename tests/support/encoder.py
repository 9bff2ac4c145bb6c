"""An `Encoder` without weights: colours and words as directions. A real implementation, only a small one."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from indexer.protocols import ShippedAxis

DIM = 16
MOST_WORDS = 40  # of a text that are read
COLOURS = ("red", "green", "blue")


class ColourEncoder:
    """A picture is its mean colour and a little of its bytes; the word for a colour points the same way."""

    model_id = "colours-1"
    dim = DIM
    licence = "Apache-2.0"

    def prepare(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> NDArray[np.generic]:
        mean = pixels_HW3.reshape(-1, 3).mean(axis=0) / 255.0
        return np.concatenate([mean, 0.1 * _noise(pixels_HW3.tobytes())]).astype(np.float32)

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]:
        if not prepared:
            return np.zeros((0, DIM), np.float32)
        return _unit(np.stack(prepared).astype(np.float32) + 1e-3)

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> Float32[ndarray, "n d"]:
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        rows = np.zeros((len(texts), DIM), np.float32)
        for row, text in zip(rows, texts, strict=True):
            read = " ".join(text.split()[:MOST_WORDS])
            row[:3] = [float(colour in read) for colour in COLOURS]
            row[3:] = 0.1 * _noise(read.encode())
        return _unit(rows)

    def fits(self, text: str) -> bool:
        return len(text.split()) <= MOST_WORDS

    def axes(self) -> Mapping[str, ShippedAxis]:
        return {}


def _noise(data: bytes) -> Float32[ndarray, " n"]:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIM - 3).astype(np.float32)


def _unit(rows: Float32[ndarray, "n d"]) -> Float32[ndarray, "n d"]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
