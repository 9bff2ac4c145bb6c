"""Aesthetic heads: small networks from an embedding to one number, as LAION published them.

Dimension key   N pictures, D embedding, I inputs and O outputs of a layer

A head without activations, whatever its depth, is one affine map: it collapses to a direction and a bias, and
is a `linear` axis like any other. Only a head with activations stays a network.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.encoders.tensor_files import Tensors, metadata_of, read_safetensors, write_safetensors
from indexer.errors import InvalidAxisError
from rerank.axes.ridge import Line, unit_rows

Activation = Literal["none", "relu", "gelu"]
BLOCK = 4096  # pictures at a time; 16 MB of a layer that is 1024 wide
LARGEST_BYTES = 64 << 20
LAYER = re.compile(r"(?:(?:.*\.)?(\d+)\.)?(weight|bias)")

# The "improved aesthetic predictor": positions in its Sequential, and widths. Dropout lies between the
# layers and no activation: its authors left the ReLUs out.
LAION_POSITIONS = (0, 2, 4, 6, 7)
LAION_WIDTHS = (1024, 128, 64, 16, 1)


@dataclass(frozen=True, slots=True)
class Layer:
    weight_OI: Float32[ndarray, "o i"]
    bias_O: Float32[ndarray, " o"]


@dataclass(frozen=True, slots=True)
class Head:
    """Linear layers with `activation` between them. Takes rows of length 1, gives one number a row."""

    layers: tuple[Layer, ...]
    activation: Activation

    @classmethod
    def of(cls, data: bytes) -> "Head":
        """The head that `to_bytes` stored."""
        return cls(_layers(read_safetensors(data))[1], activation_named(metadata_of(data).get("activation")))

    @classmethod
    def of_tensors(cls, tensors: Tensors, activation: Activation | None = None) -> "Head":
        """A head as it was published: `N.weight`, `layers.N.weight`, or one layer without a number.

        Args:
            tensors: Weights and biases. Numbers are positions in a Sequential, so they may have gaps.
            activation: What lies between the layers. None where the layout tells: one layer, or LAION's five.

        Raises:
            InvalidAxisError: A tensor that is no part of a linear layer, shapes that do not fit, numbers that
                are not finite, more than one output, or an activation that cannot be known.
        """
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > LARGEST_BYTES:
            raise InvalidAxisError(f"the head has {size} bytes of weights: expected at most {LARGEST_BYTES}")
        positions, layers = _layers(tensors)
        if activation is None:
            widths = tuple(len(layer.bias_O) for layer in layers)
            if len(layers) > 1 and (positions, widths) != (LAION_POSITIONS, LAION_WIDTHS):
                raise InvalidAxisError(
                    f"a head with layers of width {', '.join(map(str, widths))} at {list(positions)}: the "
                    "file does not say what lies between them; give the activation: none, relu or gelu"
                )
            activation = "none"
        return cls(layers, activation)

    def to_bytes(self) -> bytes:
        return write_safetensors(self.to_tensors(), {"activation": self.activation})

    def to_tensors(self) -> Tensors:
        tensors: dict[str, ndarray] = {}
        for n, layer in enumerate(self.layers):
            tensors |= {f"layers.{n}.weight": layer.weight_OI, f"layers.{n}.bias": layer.bias_O}
        return tensors

    @property
    def dim(self) -> int:
        return int(self.layers[0].weight_OI.shape[1])

    def __call__(self, vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, " n"]:
        blocks = [self._block(block_ND) for block_ND in _blocks(vectors_ND)]
        return np.concatenate([np.empty(0), *blocks])

    def collapse(self) -> Line | None:
        """The affine map that this head is; None when it is none."""
        if self.activation != "none" and len(self.layers) > 1:
            return None
        weight_OD, bias_O = np.eye(self.dim), np.zeros(self.dim)
        for layer in self.layers:
            weight_OD = layer.weight_OI.astype(np.float64) @ weight_OD
            bias_O = layer.weight_OI.astype(np.float64) @ bias_O + layer.bias_O
        gain = float(np.linalg.norm(weight_OD))
        if not gain > 0:
            raise InvalidAxisError("the head gives every picture the same value")
        return Line((weight_OD[0] / gain).astype(np.float32), gain, float(bias_O[0]), 0.0)

    def _block(self, vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, " n"]:
        values_NO = unit_rows(vectors_ND).astype(np.float32)
        for n, layer in enumerate(self.layers):
            if n > 0:
                values_NO = ACTIVATIONS[self.activation](values_NO)
            values_NO = values_NO @ layer.weight_OI.T + layer.bias_O
        return values_NO[:, 0].astype(np.float64)


def _relu(values: ndarray) -> ndarray:
    return np.maximum(values, 0)


def _gelu(values: ndarray) -> ndarray:
    """X Φ(x), with erf after Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7."""
    z = np.abs(values) / np.float32(math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * values * (1 + np.copysign(1 - series * np.exp(-z * z), values))


ACTIVATIONS: Mapping[Activation, Callable[[ndarray], ndarray]] = {
    "none": lambda values: values,
    "relu": _relu,
    "gelu": _gelu,
}


def activation_named(name: str | None) -> Activation:
    """InvalidAxisError lists those that there are."""
    for known in ACTIVATIONS:
        if name == known:
            return known
    raise InvalidAxisError(f"activation {name!r} is not known: expected {', '.join(ACTIVATIONS)}")


def _blocks(vectors_ND: Float32[ndarray, "n d"]) -> Iterator[Float32[ndarray, "b d"]]:
    for start in range(0, len(vectors_ND), BLOCK):
        yield vectors_ND[start : start + BLOCK]


def _layers(tensors: Tensors) -> tuple[tuple[int, ...], tuple[Layer, ...]]:
    """Positions and layers, in order."""
    parts: dict[int, dict[str, ndarray]] = {}
    for name, tensor in tensors.items():
        found = LAYER.fullmatch(name)
        if found is None:
            raise InvalidAxisError(
                f"tensor {name[:80]!r} is no part of a linear layer: expected N.weight, N.bias"
            )
        if parts.setdefault(int(found[1] or 0), {}).setdefault(found[2], tensor) is not tensor:
            raise InvalidAxisError(f"two tensors claim to be the {found[2]} of layer {found[1] or 0}")
    if not parts:
        raise InvalidAxisError("the head has no layers")
    positions = tuple(sorted(parts))
    layers = tuple(_layer(position, parts[position]) for position in positions)
    for before, after in pairwise(layers):
        if len(before.bias_O) != after.weight_OI.shape[1]:
            raise InvalidAxisError(
                f"a layer gives {len(before.bias_O)} numbers, the next one takes {after.weight_OI.shape[1]}"
            )
    if len(layers[-1].bias_O) != 1:
        raise InvalidAxisError(f"the head gives {len(layers[-1].bias_O)} numbers for a picture: expected one")
    return positions, layers


def _layer(position: int, parts: Mapping[str, ndarray]) -> Layer:
    if "weight" not in parts or parts["weight"].ndim != 2:
        raise InvalidAxisError(f"layer {position} is not linear: expected a weight with two dimensions")
    weight_OI = np.asarray(parts["weight"], np.float32)
    bias_O = np.asarray(parts.get("bias", np.zeros(len(weight_OI))), np.float32)
    if 0 in weight_OI.shape or bias_O.shape != (len(weight_OI),):
        raise InvalidAxisError(
            f"layer {position} has a weight of shape {weight_OI.shape} and a bias of shape {bias_O.shape}"
        )
    if not np.isfinite(weight_OI).all() or not np.isfinite(bias_O).all():
        raise InvalidAxisError(f"layer {position} holds a number that is not finite")
    return Layer(weight_OI, bias_O)
