"""Policies by name.

builtin                  the generator that comes with Kallos
diffusers:/folder        a pipeline of a known family, as `kallos generators` takes it; so is
diffusers:org/name       one from the local Hugging Face cache; nothing is fetched
tiny:FAMILY              random weights of an architecture, a millionth of its size: for dry runs
"""

from pathlib import Path
from typing import Any

import torch

from indexer.errors import InvalidInputError, UnavailableError, UnknownModelError
from rerank.generate.diffusers.families import FAMILIES, KNOWN_GENERATORS, Family
from rerank.generate.diffusers.folder import PipelineFolder, read_index, read_pipeline_folder
from rerank.generate.diffusers.loading import (
    device_of,
    is_out_of_memory,
    memory_of,
    read_pipeline,
)
from rerank.generate.registry import DIFFUSERS, find_folder
from rerank.generate.request import BUILTIN
from training.policies.architecture import Architecture
from training.policies.builtin import BuiltinPolicy
from training.policies.flux import Flux
from training.policies.options import Adapter, PolicyOptions
from training.policies.pipeline import PipelinePolicy
from training.policies.sd3 import StableDiffusion3
from training.policies.stable_diffusion import StableDiffusion, StableDiffusionXL
from training.policies.tiny import SIDE_PX, tiny_pipeline

TINY = "tiny:"
TINY_SEED = 11
POSSIBLE = f"{BUILTIN}, {DIFFUSERS}/path/to/folder, {DIFFUSERS}org/name or {TINY}FAMILY"


def load_policy(
    name: str,
    adapter: Adapter | None,
    options: PolicyOptions,
    *,
    seed: int = 0,
    cache: Path | None = None,
) -> BuiltinPolicy | PipelinePolicy:
    """Read the weights of `name`, from this machine alone, and let train what `adapter` says.

    Args:
        name: As above.
        adapter: None freezes everything: to draw with.
        options: Where and how it is trained.
        seed: Draws the adapter's first weights.
        cache: The Hugging Face cache folder, None the usual one.

    Raises:
        UnknownModelError: Any other name; the message says what is possible.
        NotFoundError: There is no pipeline in that folder.
        InvalidInputError: It is none that can be trained, or the options do not fit it.
        CorruptStoreError: Parts are missing or damaged.
        UnavailableError: The model is not in the cache, there is no such device, or not enough memory.
    """
    if name == BUILTIN:
        return _builtin(adapter, options, seed)
    if name.startswith(TINY):
        family = _family(name.removeprefix(TINY))
        return _policy(
            family, tiny_pipeline(family.name, seed=TINY_SEED), name, SIDE_PX, adapter, options, seed
        )
    if not name.startswith(DIFFUSERS):
        raise UnknownModelError(f"{name!r} is nothing to train; possible: {POSSIBLE}")
    path, label = find_folder(name, cache)
    folder = read_pipeline_folder(path)
    side_px = options.side_px or folder.native_px
    if not folder.least_px <= side_px <= folder.most_px:
        raise InvalidInputError(f"side_px is {side_px}: expected {folder.least_px} to {folder.most_px}")
    return _policy(
        folder.family,
        _read(folder, adapter, options),
        f"{label}/{folder.identity}",
        side_px,
        adapter,
        options,
        seed,
    )


def tiny_name(name: str, *, cache: Path | None = None) -> str:
    """The name of random weights of the same architecture, which needs none of the model's files.

    Raises UnknownModelError and what `find_folder` raises: its family is known from no list and no folder.
    """
    if name == BUILTIN or name.startswith(TINY):
        return name
    repository = name.removeprefix(DIFFUSERS)
    for known in KNOWN_GENERATORS:
        if known.repository == repository:
            return f"{TINY}{known.family}"
    return f"{TINY}{read_index(find_folder(name, cache)[0]).family.name}"


def _builtin(adapter: Adapter | None, options: PolicyOptions, seed: int) -> BuiltinPolicy:
    expected = PolicyOptions(device=options.device, guidance=options.guidance)
    if options != expected:
        raise InvalidInputError(
            "the builtin generator takes no precision, side_px, rests or checkpointing: "
            f"expected them with {DIFFUSERS}"
        )
    return BuiltinPolicy(
        adapter=adapter,
        guidance=options.guidance,
        device=str(device_of(options.device)),
        seed=seed,
    )


def _family(name: str) -> Family:
    found = next((family for family in FAMILIES if family.name == name), None)
    if found is None:
        possible = ", ".join(family.name for family in FAMILIES)
        raise UnknownModelError(f"{TINY}{name}: no such family; possible: {possible}")
    return found


def _read(folder: PipelineFolder, adapter: Adapter | None, options: PolicyOptions) -> Any:  # noqa: ANN401
    """Frozen parts rest in the dtype that is calculated in; a network that is trained whole, in float32."""
    dtype: torch.dtype = getattr(torch, options.precision)
    is_whole = adapter is not None and adapter.rank == 0
    try:
        return read_pipeline(
            folder,
            {
                "default": dtype,
                folder.family.denoiser: torch.float32 if is_whole else dtype,
            },
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UnavailableError(
            f"{folder.path}: not enough memory to load {folder.size_mb} MB of weights "
            f"({memory_of(torch.device('cpu'))})"
        ) from error


def _policy(
    family: Family,
    pipeline: Any,  # noqa: ANN401  # diffusers is untyped
    model_id: str,
    side_px: int,
    adapter: Adapter | None,
    options: PolicyOptions,
    seed: int,
) -> PipelinePolicy:
    architecture = _architecture(family, pipeline, side_px, options.guidance)
    device = device_of(options.device)
    return PipelinePolicy(pipeline, architecture, model_id, device, options, adapter=adapter, seed=seed)


def _architecture(family: Family, pipeline: Any, side_px: int, guidance: float) -> Architecture:  # noqa: ANN401
    match family.name:
        case "sd15":
            return StableDiffusion.of(pipeline, side_px)
        case "sdxl":
            return StableDiffusionXL.of(pipeline, side_px)
        case "sd3":
            return StableDiffusion3.of(pipeline, side_px)
        case "flux":
            return Flux.of(pipeline, side_px, guidance)
    raise InvalidInputError(f"{family.title}: no policy knows this family")
