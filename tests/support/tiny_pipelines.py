"""Complete diffusers pipelines with random weights, one of each family, saved as a user's folder would be."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from training.policies.tiny import BUILDERS, tiny_pipeline

SEED = 11
CARD = "---\nlicense: openrail\nlicense_link: LICENSE.md\nbase_model: kallos/nothing\n---\n# Random weights\n"


def write_pipeline(family: str, folder: Path, *, safe: bool = True, **extra: Any) -> Path:  # noqa: ANN401
    """A folder as `save_pretrained` makes it. `extra` replaces parts; `safe=False` writes pickles."""
    if "safety_checker" in extra:
        extra |= {"feature_extractor": _image_processor(), "requires_safety_checker": True}
    pipeline = tiny_pipeline(family, seed=SEED, **extra)
    pipeline.save_pretrained(folder, safe_serialization=safe)
    (folder / "README.md").write_text(CARD)
    return folder


def tiny_safety_checker(*, flags: bool) -> StableDiffusionSafetyChecker:
    """The checker of Stable Diffusion 1.x, whose thresholds no picture passes, or each one does."""
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**size, "image_size": 32, "patch_size": 16}
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=vision, text_config={**size, "vocab_size": 8}, projection_dim=8)
    )
    checker.concept_embeds_weights.data.fill_(
        -2.0 if flags else 2.0
    )  # a cosine is never under −1, nor over 1
    return checker


def write_lora(folder: Path, family: str = "sd15", *, size: float = 1.0) -> Path:
    """A LoRA of rank 2 for the attention of a tiny denoiser: `.safetensors`, as training writes it."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        pipeline = BUILDERS[family]()
        name = "unet" if family in ("sd15", "sdxl") else "transformer"
        model = getattr(pipeline, name)
        model.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
        layers = {
            key: size * torch.randn_like(value) for key, value in get_peft_model_state_dict(model).items()
        }
    type(pipeline).save_lora_weights(folder, **{f"{name}_lora_layers": layers}, safe_serialization=True)
    return folder / "pytorch_lora_weights.safetensors"


def rewrite_index(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
