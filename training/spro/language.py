"""Sampling from a language model, and what it thinks of an answer: for causal models of transformers.

Dimension key   B answers, L tokens, V vocabulary
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from indexer.errors import InvalidInputError
from training.policies.adapters import NAME
from training.policies.options import Adapter
from training.spro.guidance import Answer, Request
from training.spro.instructions import OPENING


class GumbelNoise(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Turns greedy decoding into sampling: argmax(logits / T + Gumbel noise) is a draw from the softmax.

    Each row has a temperature and a generator of its own, so a draw does not depend on its neighbours, and
    transformers' own sampling, which uses torch's global generator, is not needed.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int]) -> None:
        self._temperatures = temperatures
        self._rngs = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        rows = []
        for score_V, temperature, rng in zip(scores, self._temperatures, self._rngs, strict=True):
            if temperature == 0:
                rows.append(score_V.float())
                continue
            # In float64: the tail matters where one draw is made of so many numbers.
            gumbel_V = -torch.empty(score_V.shape, dtype=torch.float64).exponential_(generator=rng).log()
            rows.append(score_V.float() / temperature + gumbel_V.to(score_V.device, torch.float32))
        return torch.stack(rows)


def in_batches(
    write: Callable[[Sequence[Request], GumbelNoise], list[Answer]],
    requests: Sequence[Request],
    temperatures: Sequence[float],
    seeds: Sequence[int],
    batch: int,
) -> list[Answer]:
    """Answers to all, `batch` at a time; each request has its own temperature and seed."""
    answers: list[Answer] = []
    for first in range(0, len(requests), batch):
        part = slice(first, first + batch)
        answers += write(requests[part], GumbelNoise(temperatures[part], seeds[part]))
    return answers


@dataclass(frozen=True, slots=True)
class Scored:
    """Logits at the places of the answers' tokens, padded at the end; `is_token_BL` says which are real."""

    logit_BLV: Float[Tensor, "b l v"]
    token_BL: Int[Tensor, "b l"]
    is_token_BL: Bool[Tensor, "b l"]


def logp_sum_B(scored: Scored) -> Float[Tensor, " b"]:
    """Log-probability of each answer in float32: the sum over the answer's tokens, and over nothing else."""
    logp_BLV = scored.logit_BLV.float().log_softmax(-1)
    logp_BL = logp_BLV.gather(-1, scored.token_BL[..., None])[..., 0]
    return torch.where(scored.is_token_BL, logp_BL, 0.0).sum(-1)


def kl_mean(policy: Scored, reference: Scored) -> float:
    """KL(π ‖ π_ref) of the next token in nats, exact over the vocabulary, mean over the answers' tokens."""
    logp_BLV, ref_BLV = (scored.logit_BLV.float().log_softmax(-1) for scored in (policy, reference))
    kl_BL = (logp_BLV.exp() * (logp_BLV - ref_BLV)).sum(-1)
    return float(kl_BL[policy.is_token_BL].mean())


def score(
    model: Any,  # noqa: ANN401  # of transformers, whose types depend on the model
    question: dict[str, Tensor],
    answers: Sequence[Sequence[int]],
    padding: int,
    read: Any = None,  # noqa: ANN401  # a cache of transformers
) -> Scored:
    """One pass over questions and answers.

    Args:
        model: A causal language model; differentiable in its weights.
        question: What `model` takes, `input_ids` padded on the left with an `attention_mask`.
        answers: Token ids of each answer, its end included.
        padding: The id that fills up.
        read: What the model keeps of the questions' first tokens, which it need not read again; gradients go
            through it.
    """
    device = question["input_ids"].device
    longest = max(map(len, answers))
    token_BL = torch.tensor([[*ids, *[padding] * (longest - len(ids))] for ids in answers], device=device)
    is_token_BL = torch.tensor([[i < len(ids) for i in range(longest)] for ids in answers], device=device)
    added = {"input_ids": token_BL, "attention_mask": is_token_BL.long()}
    given: dict[str, Any] = dict(question)
    for name, tensor in question.items():
        if tensor.shape == question["input_ids"].shape:  # also the kinds of tokens that some models are told
            given[name] = torch.cat([tensor, added.get(name, torch.zeros_like(token_BL))], 1)
    if read is not None:
        start = read.get_seq_length()
        position_BL = (given["attention_mask"].cumsum(-1) - 1).clamp_min(0)
        given |= {"input_ids": given["input_ids"][:, start:], "position_ids": position_BL[:, start:]}
        given |= {"cache": read}
    # The token at a place is predicted one place before it.
    logit_BLV = model(**given, logits_to_keep=longest + 1, use_cache=read is not None).logits[:, :-1]
    return Scored(logit_BLV, token_BL, is_token_BL)


def sample(
    model: Any,  # noqa: ANN401  # as above
    question: dict[str, Tensor],
    noise: GumbelNoise,
    most_tokens: int,
    **more: object,
) -> Int[Tensor, "b l"]:
    """Ids of what the model wrote after each question, filled up after its end; `more` goes to `generate`."""
    ids_BL = model.generate(
        **question, **more, logits_processor=[noise], max_new_tokens=most_tokens, do_sample=False
    )
    return ids_BL[:, question["input_ids"].shape[1] :]


def answers_of(decoder: Any, ids_BL: Int[Tensor, "b l"], end: int) -> list[Answer]:  # noqa: ANN401  # a tokeniser
    """What was written behind the opening; `end` tells an answer that ended from one that was cut off."""
    texts = decoder.batch_decode(ids_BL, skip_special_tokens=True)
    ended_B = (ids_BL == end).any(1).tolist()
    return [Answer(OPENING + text, ended) for text, ended in zip(texts, ended_B, strict=True)]


def attach(model: Any, adapter: Adapter, seed: int) -> None:  # noqa: ANN401  # any of transformers' models
    """As `training.policies.adapters.attach`, for models that transformers' own `add_adapter` refuses.

    It asks for a newer peft than diffusers works with; peft itself has no such wish.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(adapter.rank == 0)
    if adapter.rank == 0:
        return
    config = LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, target_modules=list(adapter.targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, model, NAME)
        except ValueError as error:
            raise InvalidInputError(f"adapter targets {', '.join(adapter.targets)}: {error}") from error
