"""Text → picture retrieval: does a picture's own caption find it?

Dimension key   Q captions, N pictures, D embedding
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.errors import KallosError
from indexer.imaging.decode import Limits, decode
from indexer.protocols import Encoder
from indexer.sources.captioned import has_list, read_captioned
from indexer.sources.open import open_source
from indexer.sources.sidecars import read_sidecars
from indexer.sources.source import SourceItem
from rerank.retrieval import Recall, recall

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures with their captions by language code; `en` is the first one of each."""

    vectors_ND: Float32[ndarray, "n d"]
    captions: Sequence[Mapping[str, str]]


def encode_captioned(
    folder: Path,
    encoder: Encoder,
    limits: Limits,
    tick: Callable[[int], None],
    *,
    split: str | None = None,
) -> Captioned:
    """Every readable picture of `folder` that has a caption, in a list of them or beside it.

    `split` takes a part of a list that is divided: see `indexer.sources.captioned`.
    """
    pixels: list[ndarray] = []
    vectors: list[Float32[ndarray, "n d"]] = []
    captions: list[Mapping[str, str]] = []
    for name, read, known in _listed(folder, split) if has_list(folder) else _beside(folder, limits):
        try:
            picture = decode(read(), limits, name=name)
        except KallosError:
            continue
        captions.append(known)
        pixels.append(picture.pixels)
        if len(pixels) == CHUNK:
            vectors.append(encoder.encode_images(pixels))
            pixels = []
            tick(len(captions))
    vectors.append(encoder.encode_images(pixels))
    tick(len(captions))
    return Captioned(np.concatenate(vectors), captions)


def recall_of(captioned: Captioned, encoder: Encoder, language: str) -> Recall:
    """How high the own picture of each caption in `language` stands, among all pictures."""
    captions = [known.get(language) for known in captioned.captions]
    texts = [caption for caption in captions if caption is not None]
    query_QD = np.concatenate(
        [encoder.encode_texts(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    )
    return recall(query_QD @ captioned.vectors_ND.T, texts, captions)


Found = tuple[str, Callable[[], bytes], Mapping[str, str]]  # name, content, captions


def _listed(folder: Path, split: str | None) -> Iterator[Found]:
    for picture in read_captioned(folder, split):
        yield str(picture.path), picture.path.read_bytes, {"en": picture.captions[0]}


def _beside(folder: Path, limits: Limits) -> Iterator[Found]:
    for item in open_source(str(folder), limits=limits, fetch=None).items():
        if isinstance(item, SourceItem) and (known := _captions(item)):
            yield item.uri, item.read, known


def _captions(item: SourceItem) -> dict[str, str]:
    metadata, _ = read_sidecars(item.sidecars())
    known = metadata.get("captions")
    captions = {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}
    caption = metadata.get("caption")
    return captions | ({"en": caption} if isinstance(caption, str) and caption.strip() else {})
