"""A diffusers pipeline on disk, known from its small files: nothing here imports torch or diffusers.

    model_index.json              the pipeline's class, and the class of each part
    PART/config.json              of a part with weights; beside it *.safetensors, whole or in shards
    README.md                     the model card: its head names the licence

A folder whose weights exist only as pickles is refused: reading a pickle can run code.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import CorruptStoreError, InvalidInputError, NotFoundError
from rerank.generate.diffusers.families import FAMILIES, Family, family_of

INDEX = "model_index.json"
CARD = "README.md"
CONFIG = "config.json"
# Parts come from these alone; "stable_diffusion" is how diffusers calls its own safety checker.
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
WEIGHTS = re.compile(r"[^.]+(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors")
HALF = "fp16"  # the one variant in use: the same weights at half the size
UNREADABLE_LICENCE = f"unknown: the head of {CARD} cannot be read"
UNKNOWN_LICENCE = "unknown: see where the weights come from"


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """`identity` changes when a file does. `has_guidance` is False for a model distilled without it."""

    path: Path
    family: Family
    licence: str
    size_mb: int
    variant: str | None
    identity: str
    multiple_px: int
    native_px: int
    most_px: int
    has_safety_checker: bool
    has_guidance: bool

    @property
    def least_px(self) -> int:
        """A quarter of the usual side; what is drawn smaller shows nothing."""
        return -(-self.native_px // 4 // self.multiple_px) * self.multiple_px


@dataclass(frozen=True, slots=True)
class PipelineIndex:
    family: Family
    parts: tuple[str, ...]


def read_index(path: Path) -> PipelineIndex:
    """What the folder is and which parts it should have, there or not. Raises as `read_pipeline_folder`."""
    if not (path / INDEX).is_file():
        raise NotFoundError(f"{path}: no diffusers pipeline here, {INDEX} is missing")
    index = _json(path / INDEX)
    family = family_of(str(index.get("_class_name")))
    if family is None:
        possible = ", ".join(family.pipeline for family in FAMILIES)
        raise InvalidInputError(f"{path}: the pipeline is {index.get('_class_name')!r}, expected {possible}")
    return PipelineIndex(family, _parts(path, index))


def read_pipeline_folder(path: Path) -> PipelineFolder:
    """Read what a folder says about itself.

    Raises:
        NotFoundError: There is no pipeline.
        InvalidInputError: It is none that Kallos runs, or its weights could run code.
        CorruptStoreError: Parts are missing or damaged.
    """
    index = read_index(path)
    family, parts = index.family, index.parts
    for part in parts:
        if not (path / part).is_dir():
            raise CorruptStoreError(f"{path}: the part {part} is missing")
    models = [part for part in parts if (path / part / CONFIG).is_file() and not part.startswith("tokenizer")]
    weights = {part: _weights(path / part) for part in models}
    for part in (family.denoiser, "vae"):
        if part not in weights:
            raise CorruptStoreError(f"{path}: the part {part} is missing")
    variant = None if _of_variant(weights[family.denoiser], None) else HALF
    files = [file for found in weights.values() for file in _of_variant(found, variant) or found]
    return PipelineFolder(
        path=path,
        family=family,
        licence=_licence(path / CARD),
        size_mb=round(sum(file.stat().st_size for file in files) / 1e6),
        variant=variant,
        identity=identity_of([*sorted(path.glob("*/*.json")), *files]),
        has_safety_checker="safety_checker" in parts,
        **_numbers(path, family),
    )


def identity_of(files: list[Path]) -> str:
    """Eight digits that change with a file's place, size or time: nothing is read."""
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:8]


def _parts(path: Path, index: dict[str, Any]) -> tuple[str, ...]:
    """Each is named with its library and its class; null stands for a part that is left out."""
    found = {
        name: value[0]
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and value and value[0] is not None
    }
    for name, library in found.items():
        if library not in LIBRARIES:
            raise InvalidInputError(
                f"{path}: the part {name} wants code of {library!r}: expected {' or '.join(LIBRARIES[:2])}"
            )
    return tuple(found)


def _weights(part: Path) -> list[Path]:
    found = sorted(file for file in part.iterdir() if WEIGHTS.fullmatch(file.name))
    if not found and any(file.suffix in PICKLES for file in part.iterdir()):
        raise InvalidInputError(
            f"{part}: its weights are a pickle, which can run code when it is read: expected .safetensors "
            "(diffusers writes them with save_pretrained)"
        )
    if not found:
        raise CorruptStoreError(f"{part}: its weights are missing: expected a .safetensors file")
    return found


def _of_variant(files: list[Path], variant: str | None) -> list[Path]:
    return [file for file in files if (match := WEIGHTS.fullmatch(file.name)) and match["variant"] == variant]


def _numbers(path: Path, family: Family) -> dict[str, Any]:
    """Sizes in pixels, from the shapes of the denoiser and of the autoencoder."""
    denoiser, autoencoder = _json(path / family.denoiser / CONFIG), _json(path / "vae" / CONFIG)
    try:
        scale = 2 ** (len(autoencoder["block_out_channels"]) - 1)
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path}: {error!r} in vae/{CONFIG}") from error
    side = denoiser.get("sample_size")
    native_px = scale * (side if isinstance(side, int) else family.sample_size)
    positions = denoiser.get("pos_embed_max_size")  # a transformer with a table of places ends there
    table_px = positions * family.patch * scale if isinstance(positions, int) else 2 * native_px
    return {
        "multiple_px": scale * family.patch,
        "native_px": native_px,
        "most_px": min(2 * native_px, table_px),
        "has_guidance": family.takes_negative_prompt or bool(denoiser.get("guidance_embeds", False)),
    }


def _licence(card: Path) -> str:
    """What the head of the model card says."""
    from huggingface_hub import metadata_load

    try:
        known = metadata_load(card) or {}
    except FileNotFoundError:
        known = {}
    except Exception:  # the YAML reader has its own tree of errors; a model works without its card
        return UNREADABLE_LICENCE
    return ", ".join(_stated(known)) or UNKNOWN_LICENCE


def _stated(known: dict[str, Any]) -> Iterator[str]:
    name = known.get("license")
    if name == "other":
        name = known.get("license_name", "its own licence")
    if name:
        yield str(name)
        if link := known.get("license_link"):
            yield str(link)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptStoreError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise CorruptStoreError(f"{path}: expected a JSON object")
    return found
