"""A builtin generator's folder: what diffusers reads and writes, read without torch and diffusers.

model_index.json                                   the pipeline's class, its parts and numbers
unet/config.json, unet/diffusion_pytorch_model.safetensors       the network, float16
unet/model.onnx                                    its graph; the weights stay in the file above
vae/config.json, vae/diffusion_pytorch_model.safetensors         the patch codec
scheduler/scheduler_config.json                    flow matching, Euler steps
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load_file

from indexer.errors import CorruptStoreError, UnavailableError
from rerank.generate.builtin.latents import PatchCodec

if TYPE_CHECKING:
    from rerank.generate.builtin.torch_pipeline import BuiltinPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
GRAPH = "model.onnx"


@dataclass(frozen=True, slots=True)
class GeneratorFolder:
    """`latent_KHW` is the shape of one picture's latents."""

    name: str
    codec: PatchCodec
    graph: Path
    latent_KHW: tuple[int, int, int]
    sigma_data: float
    tokens: int
    steps: int
    guidance: float

    @property
    def side_px(self) -> int:
        return self.latent_KHW[1] * self.codec.patch_px


def read_folder(folder: Path) -> GeneratorFolder:
    """Raises UnavailableError: it is not there; CorruptStoreError: it is not one that `save_folder` wrote."""
    if not (folder / "model_index.json").is_file():
        raise UnavailableError(f"{folder}: no generator here; `kallos-train generator train` makes one")
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        network = json.loads((folder / "unet/config.json").read_text("utf-8"))
        latents = json.loads((folder / "vae/config.json").read_text("utf-8"))
        arrays = load_file(folder / "vae" / WEIGHTS)
        side = network["sample_size"]
        return GeneratorFolder(
            name=index["name"],
            codec=PatchCodec(
                latents["patch_px"], arrays["mean_P"], arrays["component_KP"], arrays["scale_K"]
            ),
            graph=folder / "unet" / GRAPH,
            latent_KHW=(network["in_channels"], side, side),
            sigma_data=index["sigma_data"],
            tokens=index["tokens"],
            steps=index["default_steps"],
            guidance=index["default_guidance"],
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CorruptStoreError(f"{folder}: not a builtin generator: {error!r}") from error


def load_pipeline(folder: Path) -> "BuiltinPipeline":
    """The same folder on torch, as a diffusers pipeline.

    Raises UnavailableError: torch or diffusers is not installed, or does not load.
    """
    try:
        from rerank.generate.builtin.torch_pipeline import BuiltinPipeline
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision was built for another torch
        raise UnavailableError(
            f"diffusers does not load ({error}); pip install 'kallos[generate]', with torch and torchvision "
            "from the same package index"
        ) from error
    return BuiltinPipeline.of_folder(folder)
