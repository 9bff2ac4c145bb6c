"""A small request, and what tests do with generators of tiny pipelines."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from rerank.generate.diffusers.generator import DiffusersGenerator
from rerank.generate.diffusers.options import GeneratorOptions
from rerank.generate.registry import load_generator
from rerank.generate.request import GenerationRequest, Pixels

CPU = GeneratorOptions(device="cpu")
SMALL = GenerationRequest("a red kite", seed=3, steps=2, width=64, height=64)


def load(folder: Path, **options: object) -> DiffusersGenerator:
    generator = load_generator(f"diffusers:{folder}", options=replace(CPU, **options))  # type: ignore[arg-type]
    assert isinstance(generator, DiffusersGenerator)
    return generator


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())
