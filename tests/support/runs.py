"""Training runs as they are left behind, made of random numbers, with the verdict that a test wants."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy import ndarray
from safetensors.numpy import load_file, save_file

from rerank.generate.builtin.folder import WEIGHTS
from rerank.generate.builtin.generator import FOLDER
from rerank.generate.tuned.run import LORA, WHOLE, TunedRun, read_run
from training.run_folder import write_card

BASE = "builtin-generator-1"
RANK = 2


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    strength: float = 1.0,
    whole: bool = False,
    base: str = BASE,
    config: Mapping[str, object] = MappingProxyType({}),
) -> TunedRun:
    """A run on the shipped builtin generator: its attention nudged, by a LoRA or as all weights."""
    rng = np.random.default_rng(seed)
    weights = load_file(FOLDER / "unet" / WEIGHTS)
    names = [name for name in weights if name.endswith("to_q.weight")]
    tensors: dict[str, ndarray] = {}
    if whole:
        tensors = {name: tensor.astype(np.float32) for name, tensor in weights.items()}
        for name in names:
            tensors[name] += strength * 0.1 * rng.standard_normal(tensors[name].shape).astype(np.float32)
    else:
        for name in names:
            layer, (outputs, inputs) = name.removesuffix(".weight"), weights[name].shape
            for letter, shape in (("A", (RANK, inputs)), ("B", (outputs, RANK))):
                numbers = 0.3 * strength * rng.standard_normal(shape)
                tensors[f"unet.{layer}.lora_{letter}.weight"] = numbers.astype(np.float32)
    return keep_run(folder, tensors, base={"name": "builtin", "model_id": base}, whole=whole, config=config)


def keep_run(
    folder: Path,
    tensors: dict[str, ndarray],
    *,
    base: Mapping[str, str],
    whole: bool = False,
    config: Mapping[str, object] = MappingProxyType({}),
) -> TunedRun:
    path = folder / (WHOLE if whole else LORA)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    write_card(folder, kind="pcpo", base=base, config=config, seed=0, files=[path])
    return read_run(folder)


def write_comparison(
    run: TunedRun, /, *, against: str = BASE, low: float = 0.1, held_out: float = 0.02, **other: object
) -> None:
    """As `kallos-train evaluate run` would: the reward rose by 0.2, its interval from `low`."""
    reward = {
        "name": "colourful",
        "base": 0.5,
        "tuned": 0.7,
        "difference": 0.2,
        "low": low,
        "high": 0.3,
        "n": 64,
    }
    other_reward = {
        **reward,
        "name": "agreement",
        "tuned": 0.5 + held_out,
        "difference": held_out,
        "low": held_out - 0.1,
        "high": held_out + 0.1,
    }
    document = {"run": run.id, "against": against, "reward": reward, "held_out": other_reward, **other}
    (run.folder / "comparison.json").write_text(json.dumps(document))
