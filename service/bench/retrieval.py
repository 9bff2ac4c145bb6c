"""Text → picture retrieval: does a picture's own caption find it?

Dimension key   Q captions, N pictures, D embedding
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.errors import KallosError
from indexer.images import Limits, decode
from indexer.protocols import Encoder
from indexer.sidecars import read_sidecars
from indexer.sources import SourceItem, open_source

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures with their captions by language code; `en` is the sidecar's first line."""

    vectors_ND: Float32[ndarray, "n d"]
    captions: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares in percent. `captions` asked, over `pictures` in the collection."""

    captions: int
    pictures: int
    at_1: float
    at_5: float
    at_10: float
    median_rank: float


def encode_captioned(
    folder: Path, encoder: Encoder, limits: Limits, tick: Callable[[int], None]
) -> Captioned:
    """Every readable picture of `folder` that has a caption."""
    pixels: list[ndarray] = []
    vectors: list[Float32[ndarray, "n d"]] = []
    captions: list[Mapping[str, str]] = []
    for item in open_source(str(folder), limits=limits, fetch=None).items():
        known = _captions(item) if isinstance(item, SourceItem) else {}
        if not isinstance(item, SourceItem) or not known:
            continue
        try:
            picture = decode(item.read(), limits, name=item.uri)
        except KallosError:
            continue
        captions.append(known)
        pixels.append(picture.pixels)
        if len(pixels) == CHUNK:
            vectors.append(encoder.encode_images(pixels))
            pixels = []
            tick(len(captions))
    vectors.append(encoder.encode_images(pixels))
    return Captioned(np.concatenate(vectors), captions)


def recall(captioned: Captioned, encoder: Encoder, language: str) -> Recall:
    """How high the own picture of each caption stands, among all pictures.

    Pictures with the same caption cannot be told apart by it: the best placed of them counts.
    """
    asked = [i for i, known in enumerate(captioned.captions) if language in known]
    texts = [captioned.captions[i][language] for i in asked]
    query_QD = np.concatenate(
        [encoder.encode_texts(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    )
    rank_Q = ranks(query_QD @ captioned.vectors_ND.T, [_same(captioned, i, language) for i in asked])
    at_1, at_5, at_10 = (100.0 * float(np.mean(rank_Q <= k)) for k in (1, 5, 10))
    return Recall(len(asked), len(captioned.captions), at_1, at_5, at_10, float(np.median(rank_Q)))


def ranks(score_QN: Float32[ndarray, "q n"], right: Sequence[Sequence[int]]) -> Int64[ndarray, " q"]:
    """For each query the rank, from 1, of the best placed right picture; ties count against it."""
    best_Q = np.array([score_QN[q, list(own)].max() for q, own in enumerate(right)])
    wrong_QN = np.ones(score_QN.shape, bool)
    for q, own in enumerate(right):
        wrong_QN[q, list(own)] = False
    above_Q = ((score_QN >= best_Q[:, None]) & wrong_QN).sum(axis=1)
    return np.asarray(1 + above_Q, np.int64)


def _captions(item: SourceItem) -> dict[str, str]:
    metadata, _ = read_sidecars(item.sidecars())
    known = metadata.get("captions")
    captions = {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}
    caption = metadata.get("caption")
    return captions | ({"en": caption} if isinstance(caption, str) and caption.strip() else {})


def _same(captioned: Captioned, index: int, language: str) -> list[int]:
    text = captioned.captions[index][language]
    return [i for i, known in enumerate(captioned.captions) if known.get(language) == text]
