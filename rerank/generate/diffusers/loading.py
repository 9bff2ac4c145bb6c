"""A pipeline folder → a pipeline in memory, on its device, with its adapters. Imports torch and diffusers."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from indexer.errors import CorruptStoreError, InvalidInputError, UnavailableError
from indexer.imaging.decode import free_memory
from rerank.generate.diffusers.folder import PipelineFolder
from rerank.generate.diffusers.latent_colours import LatentColours
from rerank.generate.diffusers.options import Adapter, Dtype, GeneratorOptions, Offload

SUFFIX = "Scheduler"


@dataclass(frozen=True, slots=True)
class Opened:
    """A pipeline that calls share and none may change: `diffusers_drawing` takes a view of it for each."""

    pipeline: Any  # diffusers is untyped
    device: torch.device
    dtype: str
    offload: Offload
    colours: LatentColours
    tokenizers: deque[dict[str, Any]] = field(default_factory=deque)  # by part; copies that no call uses now


def open_pipeline(folder: PipelineFolder, options: GeneratorOptions) -> Opened:
    """Read the weights, apply adapters, move them.

    Raises:
        InvalidInputError: The options do not fit the machine, an adapter or the scheduler not the model.
        CorruptStoreError: The folder's files contradict each other.
        UnavailableError: No such device, something is not installed, or there is not enough memory.
    """
    device = device_of(options.device)
    dtype = _dtype(options.dtype, device)
    if options.offload != "none" and device.type == "cpu":
        raise InvalidInputError(f"offload is {options.offload!r}, but the device is a CPU: expected none")
    try:
        pipeline = read_pipeline(folder, dtype)
        if options.weights is not None:
            replace_network(pipeline, folder.family.denoiser, options.weights)
        use_adapters(pipeline, options.adapters)
        scheduler_of(pipeline, options.scheduler)
        colours = LatentColours.of(pipeline.vae)
        place(pipeline, device, options.offload)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UnavailableError(
            f"{folder.path}: not enough memory to load {folder.size_mb} MB of weights ({memory_of(device)}); "
            "`offload=model` needs room for its largest part only"
        ) from error
    name = str(dtype).removeprefix("torch.")
    return Opened(pipeline, device, name, options.offload, colours)


def read_pipeline(folder: PipelineFolder, dtype: torch.dtype | dict[str, torch.dtype]) -> Any:  # noqa: ANN401
    """All parts in main memory, in one dtype or each in its own ("default" is that of the others).

    Raises CorruptStoreError, UnavailableError; RuntimeError or MemoryError where memory runs out.
    """
    try:
        pipeline = getattr(diffusers, folder.family.pipeline).from_pretrained(
            folder.path,
            dtype=dtype,
            variant=folder.variant,
            use_safetensors=True,
            local_files_only=True,
        )
    except ImportError as error:
        raise UnavailableError(f"{folder.path}: a part needs more: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise CorruptStoreError(f"{folder.path}: diffusers cannot load it: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def replace_network(pipeline: Any, part: str, weights: Path) -> None:  # noqa: ANN401
    """Load `weights`, a safetensors file of the whole part, into it; in its dtype.

    Raises CorruptStoreError: damaged; InvalidInputError: it is not for this model.
    """
    try:
        found = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise CorruptStoreError(f"{weights}: cannot be read: {error}") from error
    network = getattr(pipeline, part)
    try:  # not strict: what is not trained, such as a table of places, is not in the file
        missing, strange = network.load_state_dict(found, strict=False)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InvalidInputError(f"{weights} does not fit the model: {str(error)[:300]}") from error
    wrong = [*strange, *(name for name, _ in network.named_parameters() if name in missing)]
    if wrong:
        raise InvalidInputError(f"{weights} does not fit the model: {', '.join(wrong[:3])}")


def use_adapters(pipeline: Any, adapters: Sequence[Adapter]) -> None:  # noqa: ANN401
    """Apply these and no others. On an error none is applied.

    Raises CorruptStoreError: a file is damaged; InvalidInputError: it is not for this model.
    """
    if pipeline.get_list_adapters():
        pipeline.unload_lora_weights()
    names = [f"adapter{number}" for number in range(len(adapters))]
    try:
        for name, adapter in zip(names, adapters, strict=True):
            _load_adapter(pipeline, name, adapter)
        if names:
            pipeline.set_adapters(names, [adapter.weight for adapter in adapters])
    except Exception:
        pipeline.unload_lora_weights()
        raise


def scheduler_of(pipeline: Any, name: str | None) -> Any:  # noqa: ANN401
    """A new scheduler for this pipeline: None is its own kind, else one that it is compatible with.

    Raises InvalidInputError for any other name; UnavailableError where diffusers needs a package for it.
    """
    own = pipeline.scheduler
    possible = {kind.__name__.removesuffix(SUFFIX): kind for kind in (type(own), *own.compatibles)}
    by_name = {key.casefold(): kind for key, kind in possible.items()}
    kind = type(own) if name is None else by_name.get(name.removesuffix(SUFFIX).casefold())
    if kind is None:
        raise InvalidInputError(f"scheduler is {name!r}: expected one of {', '.join(sorted(possible))}")
    try:
        return kind.from_config(own.config)
    except ImportError as error:
        raise UnavailableError(f"the scheduler {name} needs more: {error}") from error


def place(pipeline: Any, device: torch.device, offload: Offload) -> None:  # noqa: ANN401
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU, or on the CPU, where torch says so only in words."""
    words = ("not enough memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in words)
    )


def memory_of(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{device}: {free / 1e6:.0f} of {total / 1e6:.0f} MB free"
    return f"{device}: {free_memory() / 1e6:.0f} MB free"


def _load_adapter(pipeline: Any, name: str, adapter: Adapter) -> None:  # noqa: ANN401
    try:
        pipeline.load_lora_weights(
            str(adapter.path.parent),
            weight_name=adapter.path.name,
            adapter_name=name,
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, SafetensorError) as error:
        raise CorruptStoreError(f"adapter {adapter.path}: cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise InvalidInputError(f"adapter {adapter.path} does not fit the model: {error}") from error
    if not any(name in found for found in pipeline.get_list_adapters().values()):
        raise InvalidInputError(
            f"adapter {adapter.path} holds nothing for this model: expected a LoRA of its family"
        )


def device_of(name: str) -> torch.device:
    """Raises InvalidInputError: no such kind of device; UnavailableError: this machine has none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise InvalidInputError(f"device is {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UnavailableError(
            f"device is {name!r}, but torch finds {torch.cuda.device_count()} CUDA devices"
        )
    return found


def _dtype(name: Dtype, device: torch.device) -> torch.dtype:
    if name == "float16" and device.type == "cpu":
        raise InvalidInputError("dtype is 'float16', which is for a GPU: expected float32 or bfloat16")
    if name != "auto":
        found: torch.dtype = getattr(torch, name)
        return found
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
