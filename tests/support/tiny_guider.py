"""A language model that writes plans and captions of a few words: each token depends on the one before.

…Plan: ─► " calm" ─► "\nCaption:" ─► " red" | " blue" | " black" ─► " sun" ─► end
             └──────► end, one time in four: no caption
"""

import math
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tests.support.tiny_llm import TEMPLATE

END, UNKNOWN, IMAGE = "<end>", "?", "<image>"
WORDS = (" calm", "\nCaption:", " red", " blue", " black", " sun")
NEXT: dict[str, dict[str, float]] = {
    ":": {" calm": 1.0},
    " calm": {"\nCaption:": 0.75, END: 0.25},
    "\nCaption:": {" red": 1 / 3, " blue": 1 / 3, " black": 1 / 3},
    " red": {" sun": 1.0},
    " blue": {" sun": 1.0},
    " black": {" sun": 1.0},
    " sun": {END: 1.0},
    END: {END: 1.0},
}
SURE = 12.0  # logit of a certain token beside the others' 0
VISION_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def write_text_model(folder: Path) -> Path:
    """A folder in transformers' format."""
    tokenizer = _tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    size = len(tokenizer) + len(tokenizer) % 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(_language(len(tokenizer), size))
    layer = model.model.layers[0]
    with torch.no_grad():
        for weights in (layer.self_attn.o_proj, layer.mlp.down_proj):
            weights.weight.zero_()  # so that a token is all that the next one depends on
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), size))
        model.lm_head.weight.zero_()
        for before, nexts in NEXT.items():
            for after, share in nexts.items():
                logit = SURE + math.log(share)
                place = tokenizer.convert_tokens_to_ids([after, before])
                # The last norm makes a one-hot row √size long.
                model.lm_head.weight[place[0], place[1]] = logit / math.sqrt(size)
    model.save_pretrained(folder)
    return folder


def write_vision_model(folder: Path) -> Path:
    """LLaVA's architecture with random weights: what it writes is noise, but it looks at pictures."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16,
        patch_size=8, projection_dim=16,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=_language(len(tokenizer), 16), image_token_index=image_id,
        image_seq_length=4, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = LlavaForConditionalGeneration(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(3)  # random weights of the usual size hardly tell two pictures apart
    model.save_pretrained(folder)
    _processor(tokenizer).save_pretrained(folder)
    return folder


def _processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    from transformers import CLIPImageProcessor

    pictures = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=VISION_TEMPLATE,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    letters = [*map(chr, range(32, 127)), "\n"]
    tokenizer = Tokenizer(
        BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[], unk_token=UNKNOWN)
    )
    tokenizer.add_special_tokens([AddedToken(END, special=True), AddedToken(IMAGE, special=True)])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, pad_token=END, eos_token=END,
        extra_special_tokens={"image_token": IMAGE},
    )  # fmt: skip


def _language(vocabulary: int, size: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=size, intermediate_size=4, num_hidden_layers=1,
        num_attention_heads=1, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
        max_position_embeddings=4096,
    )  # fmt: skip
