"""PickScore: a CLIP that was tuned on choices between two generated pictures. Imports torch and transformers.

    score = exp(logit_scale) · <t̂, î>            t̂, î: unit embeddings of prompt and picture

Paper           "Pick-a-Pic", arXiv:2305.01569; weights yuvalkirstain/PickScore_v1, as a CLIPModel
Departures      Pictures are resized by Pillow alone (bicubic, shorter side, centre crop), as the processor of
                the paper's time did; a prompt is not padded, which no token before its end can notice.

Dimension key   N items, L tokens, D embedding
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from safetensors import SafetensorError
from torch.nn import functional
from transformers import CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from indexer.encoders.openclip_pixels import PreprocessConfig, fit
from indexer.errors import CorruptStoreError

CPU_BATCH, CUDA_BATCH = 32, 256  # as indexer.encoders.openclip: flat from here on


class ClipFolder:
    """A CLIPModel folder of transformers, in float32: scores of good pictures differ in the third digit.

    Raises CorruptStoreError: a weight is missing or has another shape, or a file cannot be read.
    """

    def __init__(self, folder: Path, tokenizer: Path, device: torch.device) -> None:
        self._model: Any = _read(folder).to(device)  # foreign and untyped
        self._device = device
        self._batch = CUDA_BATCH if device.type == "cuda" else CPU_BATCH
        side = int(self._model.config.vision_config.image_size)
        self._pixels = PreprocessConfig(side, side, tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD))
        self._tokenizer = _tokenizer(tokenizer, int(self._model.config.text_config.max_position_embeddings))

    @property
    def scale(self) -> float:
        """exp(logit_scale), what a cosine is multiplied with."""
        return float(self._model.logit_scale.exp())

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]]) -> Float32[ndarray, "n d"]:
        starts = range(0, len(pictures), self._batch)
        return np.concatenate([self._images(pictures[start : start + self._batch]) for start in starts])

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        return np.concatenate([self._text(text) for text in texts])

    @torch.inference_mode()
    def _images(self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]]) -> Float32[ndarray, "n d"]:
        pixels_NHW3 = torch.from_numpy(np.stack([fit(picture, self._pixels) for picture in pictures]))
        unit_NHW3 = pixels_NHW3.to(self._device, torch.float32) / 255
        mean_3, std_3 = (
            torch.tensor(value, device=self._device) for value in (self._pixels.mean, self._pixels.std)
        )
        pixels_N3HW = ((unit_NHW3 - mean_3) / std_3).permute(0, 3, 1, 2)
        return self._unit(self._model.get_image_features(pixel_values=pixels_N3HW).pooler_output)

    @torch.inference_mode()
    def _text(self, text: str) -> Float32[ndarray, "1 d"]:
        token_1L = torch.tensor([self._tokenizer.encode(text).ids], device=self._device)
        return self._unit(self._model.get_text_features(input_ids=token_1L).pooler_output)

    def _unit(self, feature_ND: torch.Tensor) -> Float32[ndarray, "n d"]:
        return functional.normalize(feature_ND.float(), dim=-1).cpu().numpy()


def _read(folder: Path) -> Any:  # noqa: ANN401  # transformers is untyped
    try:
        model, report = CLIPModel.from_pretrained(
            folder, local_files_only=True, weights_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CorruptStoreError(f"{folder}: transformers cannot load it as a CLIPModel: {error}") from error
    # transformers fills gaps with random numbers and goes on.
    wrong = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind])
    if wrong:
        raise CorruptStoreError(
            f"{folder} is not a whole CLIPModel: {', '.join(wrong[:4])} missing or misshapen"
        )
    return model.eval().requires_grad_(False)


def _tokenizer(path: Path, most_tokens: int) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CorruptStoreError(f"{path} is not a tokeniser: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(most_tokens)
    return tokenizer
