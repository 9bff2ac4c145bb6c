"""Preference models with random weights, of the architectures of PickScore and HPSv2.1, as users have them.

Their text projection is of rank one: PROMPT is turned exactly to the embedding of the picture `liked()`. So
that picture has cosine 1, any other less, and the better one of a pair is known.
"""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import tokenizers
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from tests.support.files import halves, noise
from tests.support.tiny_clip import CONFIG

SEED = 21
HPS_MODEL = "kallos-tiny-hps"
SIDE = 64
PROMPT = "a red kite"
WORDS = ("[UNK]", "a", "red", "kite", "green", "hill", "<|startoftext|>", "<|endoftext|>")
START, END = WORDS.index("<|startoftext|>"), WORDS.index("<|endoftext|>")
LOGIT_SCALE = 4.5


def liked() -> UInt8[ndarray, "h w 3"]:
    return np.asarray(halves(size=(SIDE, SIDE)))


def other() -> UInt8[ndarray, "h w 3"]:
    return np.asarray(noise(3, (SIDE, SIDE)))


@functools.cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kallos-tiny-rewards-")


@functools.cache
def tiny_pickscore() -> Path:
    """A folder as transformers writes it, with safetensors and tokenizer.json."""
    folder = Path(_root().name) / "pickscore"
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **layers,
            "vocab_size": len(WORDS),
            "max_position_embeddings": 16,
            "bos_token_id": START,
            "eos_token_id": END,
        },
        vision_config={**layers, "image_size": SIDE, "patch_size": 16},
        projection_dim=24,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        model = CLIPModel(config).eval()
        model.logit_scale.fill_(LOGIT_SCALE)
        image_D = model.get_image_features(pixel_values=clip_pixels(liked())).pooler_output[0]
        text_W = model.text_model(input_ids=torch.tensor([token_ids(PROMPT)])).pooler_output[0]
        model.text_projection.weight.copy_(_onto(image_D, text_W))
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@functools.cache
def tiny_hps() -> Path:
    """A checkpoint as HPSv2.1 is published: a pickle of plain tensors under `state_dict`."""
    path = Path(_root().name) / "HPS_v2.1_compressed.pt"
    register_hps()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        model = open_clip.create_model(HPS_MODEL).eval()
        image_D = model.encode_image(clip_pixels(liked()))[0]
        width = model.text_projection.shape[0]
        projection = model.text_projection
        model.text_projection = torch.nn.Parameter(torch.eye(width))
        text_W = model.encode_text(open_clip.tokenize([PROMPT]))[0]
        projection.copy_(_onto(image_D, text_W).T)
        model.text_projection = projection
    torch.save({"epoch": 1, "state_dict": model.state_dict()}, path)
    return path


@functools.cache
def register_hps() -> None:
    """Like ViT-H-14 it has no preprocessing of its own, so that open_clip's usual one holds."""
    description = Path(_root().name) / f"{HPS_MODEL}.json"
    description.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(description)


def clip_pixels(pixels_SS3: UInt8[ndarray, "s s 3"]) -> Tensor:
    """What a CLIP whose input is as large as the picture is fed: [1, 3, S, S]."""
    mean_3, std_3 = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    return ((torch.tensor(pixels_SS3) / 255 - mean_3) / std_3).permute(2, 0, 1)[None]


def token_ids(text: str) -> list[int]:
    return [START, *(WORDS.index(word) if word in WORDS else 0 for word in text.split()), END]


def tokenizer() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token=WORDS[0])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{WORDS[START]} $A {WORDS[END]}", special_tokens=[(WORDS[START], START), (WORDS[END], END)]
    )
    return made


def _onto(image_D: Tensor, text_W: Tensor) -> Tensor:
    """The matrix of rank one that takes `text_W` to `image_D`."""
    return torch.outer(image_D, text_W) / text_W.square().sum()
