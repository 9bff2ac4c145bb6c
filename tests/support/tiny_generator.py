"""A generator small enough to train and export in a test, with the shape of the real one."""

from dataclasses import replace

import numpy as np

from rerank.generate.builtin.latents import PatchCodec
from training.config import read_config
from training.generator.config import RECIPE, GeneratorConfig


def tiny_config(**training: object) -> GeneratorConfig:
    """The committed recipe, but 16 pixels, 8 latent channels, and blocks of 16 channels."""
    config = read_config(GeneratorConfig, RECIPE)
    small = {
        "steps": 4,
        "processes": 1,
        "batch": 3,
        "checkpoint_every": 2,
        "bfloat16": False,
        "warmup_steps": 1,
    }
    return replace(
        config,
        data=replace(config.data, side_px=16, margin_px=1),
        latents=replace(config.latents, patch_px=4, channels=8),
        model=replace(config.model, channels=(16, 16), groups=4, heads=2, tokens=8),
        training=replace(config.training, **(small | training)),  # type: ignore[arg-type]  # the caller's names
    )


def random_codec(patch_px: int, channels: int) -> PatchCodec:
    rng = np.random.default_rng(0)
    numbers = 3 * patch_px**2
    basis, _ = np.linalg.qr(rng.standard_normal((numbers, channels)))
    return PatchCodec(
        patch_px,
        rng.standard_normal(numbers).astype(np.float32),
        basis.T.astype(np.float32),
        rng.uniform(0.5, 2, channels).astype(np.float32),
    )
