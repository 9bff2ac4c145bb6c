"""Weights that strangers publish, as arrays: safetensors, or a torch checkpoint without its pickle."""

import importlib.util
import io
import json
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy
from numpy import ndarray

from indexer.errors import InvalidInputError, UnavailableError

Tensors = Mapping[str, ndarray]
HEADER_BYTES = 8  # of safetensors: the length of the JSON document that follows


def read_safetensors(data: bytes) -> Tensors:
    """The tensors of a safetensors file; InvalidInputError when it is none."""
    try:
        return dict(safetensors.numpy.load(data))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"not a safetensors file that NumPy can read: {error!r:.200}") from error


def metadata_of(data: bytes) -> Mapping[str, str]:
    """What a safetensors file, which `read_safetensors` could read, says about itself."""
    length = int.from_bytes(data[:HEADER_BYTES], "little")
    header = json.loads(data[HEADER_BYTES : HEADER_BYTES + length])
    return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}


def write_safetensors(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return bytes(safetensors.numpy.save(contiguous, dict(metadata)))


def read_checkpoint(data: bytes) -> Tensors:
    """The tensors of a `.pt` or `.pth` state dict. Nothing in it is run: `weights_only`.

    Raises:
        UnavailableError: torch is not installed.
        InvalidInputError: It is not a mapping of names to tensors, or holds anything else.
    """
    if importlib.util.find_spec("torch") is None:
        raise UnavailableError(
            "a .pt or .pth file needs torch (pip install 'kallos[open-clip]'); a .safetensors file does not"
        )
    import torch

    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise InvalidInputError(
            f"not a torch checkpoint that is safe to load: {type(error).__name__}"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InvalidInputError("the checkpoint does not hold named tensors alone")
    return {str(name): tensor.float().numpy() for name, tensor in state.items()}
