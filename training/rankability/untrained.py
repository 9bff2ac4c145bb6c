"""The architecture of an encoder with random weights: what the shape of a network gives by itself.

The builtin encoder's graph is int8. Each weight tensor is drawn again (He et al. 2015, arXiv:1502.01852:
variance 2 / fan-in) and quantised again; biases become 0; the ranges of the activations, which clip like the
network's ReLU6, stay. Its head is drawn too: a random projection, random class meanings, random axes.
open_clip draws its own architectures' weights.

Departures      Batch normalisation is folded into the builtin graph's convolutions, so it is not drawn again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from safetensors.numpy import save_file

from indexer.encoders.builtin import FOLDER, TEXT_DIM, VISUAL_DIM, BuiltinEncoder, Head, unit
from indexer.encoders.known_models import BUILTIN, BUILTIN_IDS
from indexer.encoders.openclip import PREFIX as OPEN_CLIP
from indexer.encoders.openclip import OpenClipEncoder, parse_name
from indexer.errors import InvalidInputError
from indexer.protocols import Encoder

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED, SCALE = "_quantized", "_scale"  # how onnxruntime names a tensor's parts
LARGEST = 127  # of a symmetric int8


@contextmanager
def untrained(model: str, seed: int, *, device: str = "auto") -> Iterator[Encoder]:
    """The encoder called `model` as it was before any training; usable inside the block.

    Raises InvalidInputError for a model whose architecture has no name of its own.
    """
    with TemporaryDirectory(prefix="kallos-untrained-") as name:
        folder = Path(name)
        if model in (BUILTIN, *BUILTIN_IDS):
            model_id = BUILTIN_IDS[-1] if model == BUILTIN else model
            yield _builtin(model_id, folder, np.random.default_rng(seed))
        elif model.startswith(OPEN_CLIP) and parse_name(model).model:
            yield _open_clip(parse_name(model).model, folder, seed, device)
        else:
            raise InvalidInputError(
                f"{model!r} has no untrained twin: expected {BUILTIN!r}, {OPEN_CLIP}MODEL/TAG or "
                f"{OPEN_CLIP}MODEL@CHECKPOINT, or ask for no untrained encoders"
            )


def _builtin(model_id: str, folder: Path, rng: Generator) -> BuiltinEncoder:
    import onnx

    graph = onnx.load(str(FOLDER / "backbone.onnx"))
    redraw(graph, rng)
    onnx.save(graph, str(folder / "backbone.onnx"))
    features, classes = _output_sizes(graph)
    inputs = features + TEXT_DIM
    zeros, ones = (np.full(inputs, value, np.float32) for value in (0, 1))
    trained = Head.read(FOLDER / f"{model_id}.safetensors")
    units = len(trained.hidden_KH)
    head = Head(
        meaning_CT=unit(_normal(rng, classes, TEXT_DIM)),
        text_mean_T=zeros[:TEXT_DIM],
        input_mean_H=zeros,
        input_scale_H=ones,
        weight_TH=_normal(rng, TEXT_DIM, inputs) / np.float32(np.sqrt(inputs)),
        bias_T=zeros[:TEXT_DIM],
        visual_mean_F=zeros[:features],
        visual_PF=np.linalg.qr(_normal(rng, features, VISUAL_DIM))[0].T,
        hidden_KH=_normal(rng, units, inputs) / np.float32(np.sqrt(inputs)),
        hidden_bias_K=np.zeros(units, np.float32),
        output_TK=_normal(rng, TEXT_DIM, units) / np.float32(np.sqrt(max(units, 1))),
        meaning_weight=trained.meaning_weight,
    )
    tensors = {name: np.ascontiguousarray(getattr(head, name)) for name in Head.__slots__}
    save_file(tensors, folder / f"{model_id}.safetensors", {"axes": "{}"})
    return BuiltinEncoder(model_id, folder=folder)


def redraw(graph: "ModelProto", rng: Generator) -> None:
    """Replace every int8 weight and its scales, and set every bias to 0, in place."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    for name, tensor in tensors.items():
        if not name.endswith(QUANTISED):
            continue
        value = numpy_helper.to_array(tensor)
        scale = tensors[name.removesuffix(QUANTISED) + SCALE] if value.ndim > 1 else None
        if scale is None:  # a bias
            value = np.zeros_like(value)
        else:
            value, steps = _drawn(value, numpy_helper.to_array(scale), rng)
            scale.CopyFrom(numpy_helper.from_array(steps, scale.name))
        tensor.CopyFrom(numpy_helper.from_array(value, name))


def _drawn(weight: ndarray, steps: ndarray, rng: Generator) -> tuple[ndarray, ndarray]:
    """Random weights of the shape of `weight`, quantised with one step a row, and the steps."""
    fan_in = int(np.prod(weight.shape[1:]))
    drawn = rng.normal(0, np.sqrt(2 / fan_in), weight.shape)
    if steps.shape == weight.shape[:1]:
        largest = np.abs(drawn).reshape(len(drawn), -1).max(axis=1)
    else:
        largest = np.full(steps.shape, np.abs(drawn).max())
    new = np.asarray(largest / LARGEST, np.float32)
    per_row = new.reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(drawn / per_row).astype(weight.dtype), new


def _output_sizes(graph: "ModelProto") -> tuple[int, int]:
    features, scores = (output.type.tensor_type.shape.dim[1].dim_value for output in graph.graph.output)
    return features, scores


def _normal(rng: Generator, *shape: int) -> ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _open_clip(architecture: str, folder: Path, seed: int, device: str) -> OpenClipEncoder:
    """Through a checkpoint, so that pictures are prepared and run exactly as those of a trained model."""
    import open_clip
    import torch
    from safetensors.torch import save_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(architecture, pretrained=None)
    save_model(model, str(folder / "random.safetensors"))
    return OpenClipEncoder(f"{OPEN_CLIP}{architecture}@{folder / 'random.safetensors'}", device=device)
