"""Trained weights put into a safetensors file, byte for byte in its old places; NumPy alone.

    W' = W + B A          linear:       A [R, I],        B [O, R]
                          convolution:  A [R, I, k, k],  B [O, R, 1, 1], a k x k convolution, then 1 x 1

An ONNX graph that keeps its weights in such a file refers to them by offset (`training.generator.export`): a
file with the same header is one that the graph goes on reading.

Dimension key   O outputs, I inputs, R rank of the adapter, k side of a kernel
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from indexer.errors import CorruptStoreError, InvalidInputError

HEADER_BYTES = 8  # the length of the JSON document that follows
DTYPES = {"F16": "<f2", "F32": "<f4"}
LORA_A, LORA_B = ".lora_A.weight", ".lora_B.weight"


def merge_adapter(weights: Path, adapter: Path, part: str, out: Path) -> None:
    """Write `weights` with a LoRA added to `out`.

    Args:
        weights: A safetensors file of float16 or float32.
        adapter: In diffusers' format, applied at full strength.
        part: What its names begin with: `unet`, `transformer`.
        out: The file to write.

    Raises:
        InvalidInputError: The adapter is for other layers, or leads to numbers that the weights cannot hold.
        CorruptStoreError: A file is damaged.
    """
    pairs = _pairs(_load(adapter), part, adapter)
    base = _load(weights)
    changed: dict[str, ndarray] = {}
    for layer, (a, b) in pairs.items():
        name = f"{layer}.weight"
        if name not in base:
            raise InvalidInputError(f"{adapter}: {layer} is no layer of {weights.name}")
        changed[name] = base[name].astype(np.float32) + _product(
            a, b, base[name].shape, f"{adapter}: {layer}"
        )
    _write(weights, changed, out)


def replace_weights(weights: Path, tuned: Path, out: Path) -> None:
    """Write `out`: the file `weights` with every number taken from `tuned`, which names the same tensors.

    Raises as `merge_adapter`.
    """
    base, found = _load(weights), _load(tuned)
    if base.keys() != found.keys():
        other = sorted(base.keys() ^ found.keys())
        raise InvalidInputError(f"{tuned}: not the weights of this network: {', '.join(other[:3])}")
    for name, tensor in found.items():
        if tensor.shape != base[name].shape:
            raise InvalidInputError(f"{tuned}: {name} is {tensor.shape}, expected {base[name].shape}")
    _write(weights, found, out)


def _product(a: ndarray, b: ndarray, shape: tuple[int, ...], where: str) -> ndarray:
    """B A in the shape of the layer's weight."""
    is_fit = (
        a.ndim == b.ndim == len(shape)
        and (b.shape[0], *a.shape[1:]) == shape
        and b.shape[1] == a.shape[0]
        and b.shape[2:] == (1,) * (b.ndim - 2)
    )
    if not is_fit:
        raise InvalidInputError(f"{where}: A {a.shape} and B {b.shape} do not fit a weight of {shape}")
    a, b = a.astype(np.float32), b.astype(np.float32)
    return (b.reshape(len(b), -1) @ a.reshape(len(a), -1)).reshape(shape)


def _pairs(tensors: Mapping[str, ndarray], part: str, adapter: Path) -> dict[str, tuple[ndarray, ndarray]]:
    """Layer → (A, B)."""
    layers = [name.removesuffix(LORA_A) for name in tensors if name.endswith(LORA_A)]
    expected = {f"{layer}{ending}" for layer in layers for ending in (LORA_A, LORA_B)}
    strange = sorted(expected ^ tensors.keys()) or [one for one in layers if not one.startswith(f"{part}.")]
    if strange or not layers:
        raise InvalidInputError(
            f"{adapter}: expected pairs {part}.….lora_A.weight and .lora_B.weight, "
            f"found {', '.join(strange[:3]) or 'none'}"
        )
    return {
        layer.removeprefix(f"{part}."): (tensors[f"{layer}{LORA_A}"], tensors[f"{layer}{LORA_B}"])
        for layer in layers
    }


def _write(weights: Path, changed: Mapping[str, ndarray], out: Path) -> None:
    data = bytearray(weights.read_bytes())
    length = int.from_bytes(data[:HEADER_BYTES], "little")
    header: dict[str, Any] = json.loads(data[HEADER_BYTES : HEADER_BYTES + length])  # Any: what JSON may hold
    for name, tensor in changed.items():
        entry = header[name]
        if entry["dtype"] not in DTYPES:
            raise InvalidInputError(f"{weights}: {name} is {entry['dtype']}: expected F16 or F32")
        with np.errstate(over="ignore"):
            rounded = np.ascontiguousarray(tensor).astype(DTYPES[entry["dtype"]])
        if not np.isfinite(rounded).all():
            raise InvalidInputError(f"{name} would hold numbers that {entry['dtype']} cannot: is it trained?")
        start, end = (HEADER_BYTES + length + offset for offset in entry["data_offsets"])
        data[start:end] = rounded.tobytes()
    out.write_bytes(data)


def _load(path: Path) -> dict[str, ndarray]:
    try:
        found: dict[str, ndarray] = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(f"{path}: not weights that NumPy can read: {error!r:.200}") from error
    return found
