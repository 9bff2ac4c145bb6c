"""Text → picture retrieval: does a picture's own caption find it?

Dimension key   Q captions, N pictures, D embedding
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.errors import KallosError
from indexer.imaging.decode import Limits, decode
from indexer.protocols import Encoder
from indexer.sources.open import open_source
from indexer.sources.sidecars import read_sidecars
from indexer.sources.source import SourceItem
from rerank.retrieval import Recall, recall

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures with their captions by language code; `en` is the sidecar's first line."""

    vectors_ND: Float32[ndarray, "n d"]
    captions: Sequence[Mapping[str, str]]


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


def recall_of(captioned: Captioned, encoder: Encoder, language: str) -> Recall:
    """How high the own picture of each caption in `language` stands, among all pictures."""
    captions = [known.get(language) for known in captioned.captions]
    texts = [caption for caption in captions if caption is not None]
    query_QD = np.concatenate(
        [encoder.encode_texts(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    )
    return recall(query_QD @ captioned.vectors_ND.T, texts, captions)


def _captions(item: SourceItem) -> dict[str, str]:
    metadata, _ = read_sidecars(item.sidecars())
    known = metadata.get("captions")
    captions = {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}
    caption = metadata.get("caption")
    return captions | ({"en": caption} if isinstance(caption, str) and caption.strip() else {})
