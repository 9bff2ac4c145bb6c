"""A complete CLIP with random weights, small enough for every test run, loaded the way a user's would be.

It has the shape of ViT-B-32 (patches, two transformers, CLIP's own vocabulary) at a hundredth of its size.
"""

import atexit
import functools
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from indexer.encoders.openclip import OpenClipEncoder
from indexer.encoders.openclip_export import export_onnx
from indexer.encoders.registry import load_encoder

MODEL = "kallos-tiny"
DIM = 32
SIDE = 64
CONFIG = {
    "embed_dim": DIM,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SIGLIP_LIKE = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bilinear"}
SEED = 20


TAG = "random"
REPOSITORY = "kallos/tiny"


@dataclass(frozen=True, slots=True)
class TinyClip:
    """The same weights in every form that a user may have them in.

    `name` is what a user would type for `checkpoint`; `hub_folder` is laid out as a repository of the Hugging
    Face hub, and `cache` is a hub cache that holds it as `REPOSITORY`, published as `MODEL/TAG`.
    """

    name: str
    checkpoint: Path
    hub_folder: Path
    cache: Path
    root: Path


@functools.cache
def tiny_clip() -> TinyClip:
    """Register the architecture with open_clip and write random weights, once per process."""
    holder = tempfile.TemporaryDirectory(prefix="kallos-tiny-clip-")
    atexit.register(holder.cleanup)
    root = Path(holder.name)
    (root / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(root / f"{MODEL}.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = open_clip.create_model(MODEL)
    hub = root / "hub"
    hub.mkdir()
    # open_clip's table of published weights; as for OpenAI's, they were "trained" with the quick activation.
    open_clip.pretrained._PRETRAINED[MODEL] = {
        TAG: {"hf_hub": f"{REPOSITORY}/", "quick_gelu": True, **SIGLIP_LIKE},
    }
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, root / "tiny.safetensors")
    save_file(weights, hub / "open_clip_model.safetensors")
    document = {"model_cfg": CONFIG, "preprocess_cfg": SIGLIP_LIKE}
    (hub / "open_clip_config.json").write_text(json.dumps(document))
    cache = root / "cache"
    put_in_cache(cache, REPOSITORY, hub)
    checkpoint = root / "tiny.safetensors"
    return TinyClip(f"open_clip:{MODEL}@{checkpoint}", checkpoint, hub, cache, root)


def put_in_cache(cache: Path, repository: str, folder: Path) -> Path:
    """Lay `folder` out as the Hugging Face cache would after a download; return the snapshot folder."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folder, snapshot)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(snapshot.name)
    return snapshot


@functools.cache
def tiny_encoder() -> OpenClipEncoder:
    """The checkpoint, loaded through the public loader."""
    encoder = load_encoder(tiny_clip().name, device="cpu")
    assert isinstance(encoder, OpenClipEncoder)
    return encoder


@functools.cache
def tiny_export() -> Path:
    """The same model exported; takes some seconds."""
    return export_onnx(tiny_encoder(), tiny_clip().root / "onnx")
