"""The builtin generator's policy with random weights, 16 pixels and 8 latent channels: steps take
milliseconds.
"""

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from rerank.generate.builtin.torch_pipeline import BuiltinPipeline, PatchAutoencoder
from tests.support.tiny_generator import random_codec, tiny_config
from training.generator.model import build
from training.policies.builtin import BuiltinPolicy
from training.policies.options import Adapter

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2")
LORA = Adapter(rank=4, alpha=8, targets=TARGETS)
EVERYTHING = Adapter(rank=0)


def tiny_folder(folder: Path) -> Path:
    """Without a graph: torch alone reads it."""
    config = tiny_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        unet = build(config)
    BuiltinPipeline(
        unet=unet,
        vae=PatchAutoencoder.of(random_codec(config.latents.patch_px, config.latents.channels)),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        name="tiny",
        sigma_data=config.model.sigma_data,
        tokens=config.model.tokens,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def tiny_policy(folder: Path, adapter: Adapter | None = LORA, guidance: float = 1.0) -> BuiltinPolicy:
    """`folder` is where `tiny_folder` wrote."""
    return BuiltinPolicy(folder, adapter=adapter, guidance=guidance, seed=3)
