"""An exported CLIP model as an encoder: ONNX Runtime and tokenizers, no torch.

The name is onnx:FOLDER, the folder one that `openclip_export` wrote. The encoder keeps the `model_id` of the
weights, so a collection may be indexed with torch on a GPU and served with this on a CPU.

Dimension key   N items, D embedding, H W picture, h w model input
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from indexer.encoders.onnx import Session
from indexer.encoders.openclip_pixels import PreprocessConfig, fit
from indexer.encoders.openclip_text import ClipTokenizer
from indexer.errors import CorruptStoreError, NotFoundError
from indexer.protocols import ShippedAxis

PREFIX = "onnx:"
FORMAT = 1
BATCH = 32  # bounds the memory of one call; throughput is flat from here on
GRAPHS = ("image.onnx", "text.onnx")
DOCUMENTS = ("tokenizer.json", "preprocess.json")


class OnnxClipEncoder:
    """An exported model; implements `indexer.protocols.Encoder`.

    Every file is checked against the SHA-256 in model.json before it is used.
    Raises NotFoundError when `folder` holds no exported model, CorruptStoreError when it is damaged.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        description = _description(folder)
        self._check_files(folder, description["files"])
        self._model_id = str(description["model_id"])
        self._dim = int(description["dim"])
        self._licence = str(description["licence"])
        self.source = str(description["source"])
        self.preprocess = _preprocess(folder / "preprocess.json")
        self.tokenizer = ClipTokenizer(
            (folder / "tokenizer.json").read_text(encoding="utf-8"), str(description["cleaning"])
        )
        self._image = Session(folder / "image.onnx", threads)
        self._text = Session(folder / "text.onnx", threads)

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def licence(self) -> str:
        return self._licence

    def prepare(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> NDArray[np.generic]:
        """Resize and crop: uint8 [h, w, 3] of the model's input size."""
        return fit(pixels_HW3, self.preprocess)

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]:
        parts = [
            self._image.run({"pixels": np.stack(prepared[start : start + BATCH])})[0]
            for start in range(0, len(prepared), BATCH)
        ]
        return self._joined(parts)

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> Float32[ndarray, "n d"]:
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        parts = [
            self._text.run({"tokens": self.tokenizer.tokens(texts[start : start + BATCH])})[0]
            for start in range(0, len(texts), BATCH)
        ]
        return self._joined(parts)

    def fits(self, text: str) -> bool:
        return self.tokenizer.fits(text)

    def axes(self) -> Mapping[str, ShippedAxis]:
        """None are shipped: axes of these models are fitted from prompts or labels."""
        return {}

    def _joined(self, parts: list[NDArray[Any]]) -> Float32[ndarray, "n d"]:
        if not parts:
            return np.empty((0, self._dim), dtype=np.float32)
        return np.concatenate(parts).astype(np.float32, copy=False)

    @staticmethod
    def _check_files(folder: Path, hashes: Mapping[str, str]) -> None:
        for name in (*GRAPHS, *DOCUMENTS):
            if name not in hashes:
                raise CorruptStoreError(f"{folder / 'model.json'} does not list {name}")
        for name, expected in hashes.items():
            path = folder / name
            if Path(name).name != name or not path.is_file():
                raise CorruptStoreError(f"{folder / 'model.json'} lists {name!r}, which is not in the folder")
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != expected:
                raise CorruptStoreError(f"{path} has SHA-256 {actual}, but model.json says {expected}")


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    if not path.is_file():
        raise NotFoundError(f"{folder} holds no exported model: there is no model.json in it")
    description = _json(path)
    if description.get("format") != FORMAT:
        raise CorruptStoreError(f"{path} has format {description.get('format')!r}, expected {FORMAT}")
    missing = {"model_id", "dim", "licence", "source", "cleaning", "files"} - description.keys()
    if missing or not isinstance(description["files"], dict):
        raise CorruptStoreError(f"{path} lacks {', '.join(sorted(missing)) or 'its list of files'}")
    return description


def _preprocess(path: Path) -> PreprocessConfig:
    values = _json(path)
    try:
        mean, std = tuple(values.pop("mean")), tuple(values.pop("std"))
        return PreprocessConfig(mean=mean, std=std, **values)
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path} is no preprocessing description: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptStoreError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CorruptStoreError(f"{path} holds a {type(value).__name__}, expected an object")
    return value
