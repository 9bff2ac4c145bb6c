"""A complete CLIP with random weights, small enough for every test run, loaded the way a user's would be.

It has the shape of ViT-B-32 (patches, two transformers, CLIP's own vocabulary) at a hundredth of its size.
"""

import atexit
import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from safetensors.torch import save_file

MODEL = "kallos-tiny"
DIM = 32
SIDE = 64
CONFIG = {
    "embed_dim": DIM,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SEED = 20


@dataclass(frozen=True, slots=True)
class TinyClip:
    """`name` is what a user would type; `hub_folder` holds the same weights as the Hugging Face hub would."""

    name: str
    checkpoint: Path
    hub_folder: Path


@functools.cache
def open_clip() -> ModuleType:
    """Import open_clip, also where torchvision's compiled operators are absent.

    PyPI's torchvision is built against PyPI's torch; beside a torch from another index its compiled part does
    not load, and `import torchvision` then fails on the first operator that it wants to describe. open_clip
    uses only the pure-Python transforms, so declaring the two operators' signatures is enough for tests.
    Kallos itself never does this: for a user it is a broken installation, and is reported as one.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", signature)
    import open_clip as module

    return module


@functools.cache
def tiny_clip() -> TinyClip:
    """Register the architecture with open_clip and write random weights, once per process."""
    library = open_clip()
    holder = tempfile.TemporaryDirectory(prefix="kallos-tiny-clip-")
    atexit.register(holder.cleanup)
    root = Path(holder.name)
    (root / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    library.add_model_config(root / f"{MODEL}.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = library.create_model(MODEL)
    hub = root / "hub"
    hub.mkdir()
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, root / "tiny.safetensors")
    save_file(weights, hub / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bilinear"}
    document = {"model_cfg": CONFIG, "preprocess_cfg": preprocess}
    (hub / "open_clip_config.json").write_text(json.dumps(document))
    checkpoint = root / "tiny.safetensors"
    return TinyClip(name=f"open_clip:{MODEL}@{checkpoint}", checkpoint=checkpoint, hub_folder=hub)


def picture(kind: str) -> UInt8[ndarray, "h w 3"]:
    """A generated photograph-like picture: smooth colour, an edge and a little noise; the same every time."""
    height, width = {"landscape": (90, 160), "portrait": (150, 80), "tiny": (3, 5), "square": (64, 64)}.get(
        kind, (97, 61)
    )
    rng = np.random.default_rng(sum(kind.encode()))
    y_H1, x_1W = np.mgrid[0:height, 0:1][0], np.mgrid[0:1, 0:width][1]
    base_HW = np.sin(x_1W / 9.0 + rng.uniform(0, 6)) + np.cos(y_H1 / 7.0) + 1.5 * (x_1W * height > y_H1 * width)
    gains_3 = np.ones(3) if kind == "grey" else rng.uniform(0.3, 1.0, 3)
    noise_HW1 = rng.normal(0.0, 4.0, (height, width, 1))
    values_HW3 = 90 + 45 * base_HW[:, :, None] * gains_3 + noise_HW1
    return np.clip(values_HW3, 0, 255).astype(np.uint8)


PICTURES = ("landscape", "portrait", "tiny", "square", "grey")
