"""A language model that knows one sentence: each token decides the next. Small enough for every test run."""

from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)
UNKNOWN = "?"


def write_tiny_llm(folder: Path, chain: list[str]) -> Path:
    """A folder in transformers' format whose model, after `chain[n]`, writes `chain[n + 1]`.

    Args:
        folder: Made when missing.
        chain: Tokens, each at most once, but for the last one, which may lead back to any.
    """
    letters = sorted({*map(chr, range(32, 127)), UNKNOWN, *chain})
    ids = {letter: n for n, letter in enumerate(letters)}
    tokenizer = Tokenizer(BPE(vocab=ids, merges=[], unk_token=UNKNOWN))
    tokenizer.decoder = Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN, pad_token=UNKNOWN)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    size = len(ids) + len(ids) % 2
    config = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=size,
        intermediate_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weights in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
            weights.weight.zero_()  # so that a token is all that the next one depends on
        model.model.embed_tokens.weight.copy_(torch.eye(len(ids), size))
        model.lm_head.weight.zero_()
        for before, after in pairwise(chain):
            model.lm_head.weight[ids[after], ids[before]] = 1.0
    model.save_pretrained(folder)
    return folder
