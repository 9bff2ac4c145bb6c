"""A Guider that is a small instruct model in this process. It sees no picture: it knows the caption only.

    local:smollm2    SmolLM2-135M-Instruct, as for rephrasing; `rerank.rephrase.local` says what else

The paper's Guider looks at the picture of the caption; what this one can learn is which words the generator
and the reward answer to, not what a given picture lacks.
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from rerank.rephrase.local import load
from training.policies.adapters import trainable
from training.policies.options import Adapter
from training.spro.guidance import Answer, Request
from training.spro.instructions import EXAMPLES, OPENING, question, system
from training.spro.language import GumbelNoise, Scored, answers_of, attach, in_batches, sample, score


class TextGuider:
    """The law is `training.spro.preference.TrainableGuider`."""

    sees_pictures = False

    def __init__(
        self,
        name: str,
        *,
        adapter: Adapter | None,
        most_tokens: int,
        batch: int,
        device: str = "cpu",
        seed: int,
    ) -> None:
        """`adapter` None freezes everything; `seed` draws the adapter's first weights."""
        loaded = load(name)
        self._tokenizer, self._model = loaded.tokenizer, loaded.model.to(device)
        self._most_tokens, self._batch, self._name = most_tokens, batch, name
        self._model.requires_grad_(False)
        if adapter is not None:
            attach(self._model, adapter, seed)

    @property
    def model_id(self) -> str:
        return self._name

    @property
    def network(self) -> torch.nn.Module:
        return self._model

    @torch.no_grad()
    def write(
        self, requests: Sequence[Request], temperatures: Sequence[float], seeds: Sequence[int]
    ) -> list[Answer]:
        return in_batches(self._write, requests, temperatures, seeds, self._batch)

    def score(self, requests: Sequence[Request], answers: Sequence[Answer]) -> Scored:
        texts = [answer.text.removeprefix(OPENING) for answer in answers]
        end = self._tokenizer.eos_token_id
        ids = [[*self._ids(text), end] for text in texts]
        questions = [self._ids(self._question(request)) for request in requests]
        common = _common(questions)
        padded = self._padded(questions, common)
        return score(self._model, padded, ids, end, self._read(padded, common))

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return trainable(self._model)

    def _write(self, requests: Sequence[Request], noise: GumbelNoise) -> list[Answer]:
        questions = [self._ids(self._question(request)) for request in requests]
        common = _common(questions)
        padded = self._padded(questions, common)
        end = self._tokenizer.eos_token_id
        ids_BL = sample(
            self._model,
            padded,
            noise,
            self._most_tokens,
            cache=self._read(padded, common),
            pad_token_id=end,
            eos_token_id=end,
        )
        return answers_of(self._tokenizer, ids_BL, end)

    def _read(self, padded: dict[str, Tensor], common: int) -> Any:  # noqa: ANN401  # a cache of transformers
        """What all questions begin with is read once, not once an answer: most of the work."""
        found = self._model(input_ids=padded["input_ids"][:1, :common], use_cache=True, logits_to_keep=1)
        found.past_key_values.batch_repeat_interleave(len(padded["input_ids"]))
        return found.past_key_values

    def _question(self, request: Request) -> str:
        conversation = [{"role": "system", "content": system(request.objective, sees_pictures=False)}]
        for caption, answer in EXAMPLES:
            conversation += [
                {"role": "user", "content": question(Request(caption, None, request.objective))},
                {"role": "assistant", "content": answer},
            ]
        conversation.append({"role": "user", "content": question(request)})
        text = self._tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        return str(text) + OPENING

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _padded(self, questions: Sequence[list[int]], common: int) -> dict[str, Tensor]:
        """Of one length, filled up behind the first `common` tokens."""
        longest, end = max(map(len, questions)), self._tokenizer.eos_token_id
        ids, mask = [], []
        for question_ids in questions:
            gap = longest - len(question_ids)
            ids.append([*question_ids[:common], *[end] * gap, *question_ids[common:]])
            mask.append([*[1] * common, *[0] * gap, *[1] * (len(question_ids) - common)])
        device = self._model.device
        return {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }


def _common(questions: Sequence[list[int]]) -> int:
    """How many tokens all begin with; the last of a question is left to be read, it predicts the answer."""
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*questions, strict=False))
    return min(sum(1 for _ in alike), *(len(ids) - 1 for ids in questions))
