"""What training reads, written once: latents and text states as arrays that every process maps.

Dimension key   M captioned pictures, U texts, K H W latents, L tokens, E width of the sentence model
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from indexer.encoders.builtin import FOLDER, SentenceModel
from rerank.generate.builtin.conditioning import condition
from rerank.generate.builtin.latents import PatchCodec
from training.generator.config import GeneratorConfig
from training.generator.data import fit_codec, picture, training_prompts
from training.generator.materials import Drawing, draw, icon_set

ARRAYS = ("latent_MKHW", "text_M", "token_ULE", "pooled_UE")
NOTHING = 0  # the row of the empty prompt


@dataclass(frozen=True, slots=True)
class Prepared:
    latent_MKHW: NDArray[np.float16]
    text_M: NDArray[np.int64]
    token_ULE: NDArray[np.float16]
    pooled_UE: NDArray[np.float16]


def drawings_of(config: GeneratorConfig, material: Path) -> dict[tuple[str, str], Drawing]:
    """(concept, style) → drawing, for every pair that exists, held out or not."""
    data, found = config.data, {}
    for style, name in data.styles.items():
        drawn = draw(icon_set(material, name), list(config.concepts), data.side_px, data.margin_px)
        found.update({(concept, style): drawing for concept, drawing in drawn.items()})
    return found


def prepare(config: GeneratorConfig, material: Path, folder: Path) -> None:
    """Write codec.safetensors and the arrays of `Prepared` into `folder`; about a minute of one core."""
    drawings = drawings_of(config, material)
    prompts = training_prompts(config, drawings)
    pixel_MSS3 = np.stack([picture(config.data, drawings, prompt) for prompt in prompts])
    codec = fit_codec(config.latents, pixel_MSS3, config.model.sigma_data)
    texts = list(dict.fromkeys(["", *(prompt.text for prompt in prompts)]))
    row = {text: i for i, text in enumerate(texts)}
    known = condition(SentenceModel(FOLDER, 1), texts, config.model.tokens)
    prepared = Prepared(
        codec.encode(pixel_MSS3).astype(np.float16),
        np.array([row[prompt.text] for prompt in prompts]),
        known.token_BLE.astype(np.float16),
        known.pooled_BE.astype(np.float16),
    )
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(prepared, name), allow_pickle=False)
    save_codec(codec, folder / "codec.safetensors")


def load_prepared(folder: Path) -> Prepared:
    return Prepared(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS))


def save_codec(codec: PatchCodec, path: Path) -> None:
    arrays = {
        name: np.ascontiguousarray(getattr(codec, name)) for name in ("mean_P", "component_KP", "scale_K")
    }
    save_file(arrays, path)


def load_codec(path: Path, patch_px: int) -> PatchCodec:
    return PatchCodec(patch_px, **load_file(path))
