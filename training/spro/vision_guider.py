"""A Guider that looks at the caption's picture: a vision-language model of transformers, by folder or name.

Anything that `AutoModelForImageTextToText` and `AutoProcessor` read, from this machine alone; the paper's is
LLaMA-3.2-11B-Vision-Instruct. It is told what to do in words and shown no examples: models of this size keep
to the form without.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from indexer.errors import UnavailableError
from training.policies.adapters import trainable
from training.policies.options import Adapter
from training.spro.guidance import Answer, Request
from training.spro.instructions import OPENING, question, system
from training.spro.language import GumbelNoise, Scored, answers_of, attach, in_batches, sample, score


class VisionGuider:
    """The law is `training.spro.preference.TrainableGuider`."""

    sees_pictures = True

    def __init__(
        self,
        name: str,
        *,
        adapter: Adapter | None,
        most_tokens: int,
        batch: int,
        seed: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`adapter` None freezes everything; `seed` draws the adapter's first weights.

        Raises UnavailableError: no such model on this machine.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            self._processor = AutoProcessor.from_pretrained(name, local_files_only=True)
            model = AutoModelForImageTextToText.from_pretrained(
                name, dtype=dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{name}: no vision-language model on this machine: {error}") from error
        self._model = model.to(device).eval().requires_grad_(False)
        self._processor.tokenizer.padding_side = "left"
        self._most_tokens, self._batch, self._name = most_tokens, batch, name
        if adapter is not None:
            attach(self._model, adapter, seed)

    @property
    def model_id(self) -> str:
        return self._name

    @torch.no_grad()
    def write(
        self, requests: Sequence[Request], temperatures: Sequence[float], seeds: Sequence[int]
    ) -> list[Answer]:
        return in_batches(self._write, requests, temperatures, seeds, self._batch)

    def score(self, requests: Sequence[Request], answers: Sequence[Answer]) -> Scored:
        tokenizer = self._processor.tokenizer
        texts = [answer.text.removeprefix(OPENING) for answer in answers]
        ids = [
            [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            for text in texts
        ]
        return score(self._model, self._questions(requests), ids, self._padding)

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return trainable(self._model)

    def _write(self, requests: Sequence[Request], noise: GumbelNoise) -> list[Answer]:
        end = self._processor.tokenizer.eos_token_id
        ids_BL = sample(
            self._model,
            self._questions(requests),
            noise,
            self._most_tokens,
            pad_token_id=self._padding,
            eos_token_id=end,
        )
        return answers_of(self._processor, ids_BL, end)

    @property
    def _padding(self) -> int:
        tokenizer = self._processor.tokenizer
        return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)

    def _questions(self, requests: Sequence[Request]) -> dict[str, Tensor]:
        texts = [
            self._processor.apply_chat_template(_conversation(request), add_generation_prompt=True) + OPENING
            for request in requests
        ]
        pictures = [
            [] if request.picture is None else [Image.fromarray(request.picture)] for request in requests
        ]
        given: dict[str, Any] = {"text": texts, "return_tensors": "pt", "padding": True}
        if any(pictures):
            given["images"] = pictures
        # The template has written the special tokens already.
        found = self._processor(**given, add_special_tokens=False).to(self._model.device)
        return {name: self._in_dtype(tensor) for name, tensor in found.items()}

    def _in_dtype(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._model.dtype) if tensor.is_floating_point() else tensor


def _conversation(request: Request) -> list[dict[str, Any]]:
    look = [] if request.picture is None else [{"type": "image"}]
    told = system(request.objective, sees_pictures=request.picture is not None)
    # One turn: several of these models know no system's turn beside a picture.
    return [{"role": "user", "content": [*look, {"type": "text", "text": f"{told}\n\n{question(request)}"}]}]
