"""A checkpoint → the folder that is shipped: a diffusers pipeline, and the same weights as an ONNX graph.

The graph stores no weights. Its float16 tensors are external data inside the safetensors file beside it,
which is what ONNX's (file, offset, length) and safetensors' header both describe; a Cast in front of each
use makes them float32, once, when the graph is loaded. So there is one copy of the weights for both
runtimes.
"""

import json
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from onnx import TensorProto, helper
from torch import Tensor

from indexer.encoders.builtin import TEXT_DIM
from indexer.errors import InvalidInputError
from rerank.generate.builtin.folder import GRAPH, WEIGHTS
from rerank.generate.builtin.latents import PatchCodec
from rerank.generate.builtin.torch_pipeline import BuiltinPipeline, PatchAutoencoder
from training.generator.config import GeneratorConfig
from training.generator.model import build

OPSET = 20


def save_folder(
    config: GeneratorConfig, weights: Mapping[str, Tensor], codec: PatchCodec, folder: Path
) -> None:
    """Write the folder; the weights are rounded to float16."""
    unet = build(config)
    unet.load_state_dict(dict(weights))
    unet.eval()
    pipeline = BuiltinPipeline(
        unet=unet.half(),
        vae=PatchAutoencoder.of(codec),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        name=config.name,
        sigma_data=config.model.sigma_data,
        tokens=config.model.tokens,
        default_steps=config.sampling.steps,
        default_guidance=config.sampling.guidance,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    save_graph(unet.float(), folder / "unet")


class _Network(torch.nn.Module):
    """The U-Net with plain arguments and one plain result."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, class_labels: Tensor
    ) -> Tensor:
        return self.unet(
            sample, timestep, encoder_hidden_states, class_labels=class_labels, return_dict=False
        )[0]


def save_graph(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write model.onnx beside the weights that `folder` holds already."""
    shape = (unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    example = (
        torch.zeros(2, *shape),
        torch.full((2,), 500.0),
        torch.zeros(2, 8, TEXT_DIM),
        torch.zeros(2, TEXT_DIM),
    )
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what its own exporter calls
        program = torch.onnx.export(
            _Network(unet).eval(),
            example,
            input_names=["sample", "timestep", "encoder_hidden_states", "class_labels"],
            output_names=["clean"],
            dynamic_shapes=({0: batch}, {0: batch}, {0: batch, 1: tokens}, {0: batch}),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # it would fold weights into new tensors that are not in the file
            verbose=False,
        )
    assert program is not None  # it is where a file was not asked for
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # where in torch it came from: most of the file
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    point_to_weights(model, folder / WEIGHTS)
    onnx.save(model, folder / GRAPH)


@dataclass(frozen=True, slots=True)
class _Place:
    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int


def point_to_weights(model: onnx.ModelProto, weights: Path) -> None:
    """Replace the initializers of `model` by references into `weights`."""
    places = _places(weights)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        place = places.get(tensor.name.removeprefix("unet."))
        if place is None:
            kept.append(tensor)
            continue
        if place.dtype != "F16" or place.shape != tuple(tensor.dims):
            raise InvalidInputError(
                f"{tensor.name}: {place.dtype}{list(place.shape)}, expected F16{list(tensor.dims)}"
            )
        kept.append(_reference(f"{tensor.name}.f16", place, weights.name))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.f16"], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend([*casts, *nodes])


def _places(weights: Path) -> dict[str, _Place]:
    """Where each tensor lies in a safetensors file: 8 bytes of header length, a JSON header, the data."""
    with weights.open("rb") as file:
        (header_length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_length))
    data = 8 + header_length
    return {
        name: _Place(
            entry["dtype"],
            tuple(entry["shape"]),
            data + entry["data_offsets"][0],
            int(np.diff(entry["data_offsets"])[0]),
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _reference(name: str, place: _Place, file: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=place.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", place.start), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
