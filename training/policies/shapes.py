"""Published architectures without their weights: how large each part is, and what a gradient keeps in memory.

`published.json` holds the configurations of the models' own folders. Parts are built on torch's meta device
or with fake tensors, which have a shape and a dtype but no numbers: nothing is allocated or calculated.

Dimension key   B rows of the network, K H W latents, L tokens, E width of the words
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from indexer.errors import InvalidInputError
from training.policies.adapters import attach
from training.policies.architecture import Architecture
from training.policies.flux import Flux
from training.policies.options import Adapter
from training.policies.sd3 import StableDiffusion3
from training.policies.stable_diffusion import Noise, StableDiffusion, StableDiffusionXL

PUBLISHED = Path(__file__).with_name("published.json")
SCALE_PX = 8  # pixels across one latent, in all of them
WORDS = {"sd15": 77, "sdxl": 77, "sd3": 77 + 256, "flux": 512}  # tokens that the network is told


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes between the forward and the backward pass; the most that a block adds when it is repeated."""

    forward: int
    largest_block: int

    @property
    def most(self) -> int:
        return self.forward + self.largest_block


@cache
def count_parameters(family: str) -> dict[str, int]:
    """Of each part that has weights."""
    with torch.device("meta"):
        return {
            name: sum(weight.numel() for weight in _build(config).parameters())
            for name, config in _shapes(family).items()
        }


def count_trained(family: str, adapter: Adapter) -> int:
    with torch.device("meta"):
        network = _network(family)
        attach(network, adapter, seed=0)
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def latent_numbers(family: str, side_px: int) -> int:
    """Of one picture."""
    channels = 4 if family in ("sd15", "sdxl") else 16
    return channels * (side_px // SCALE_PX) ** 2


def told_numbers(family: str) -> int:
    """Of one prompt, as the network is told it."""
    return sum(tensor.numel() for tensor in _told(family, 1, torch.float32, "meta").values())


@cache
def kept_for_gradient(
    family: str, side_px: int, adapter: Adapter, *, rows: int, half: bool, checkpointing: bool
) -> Kept:
    """What autograd keeps of some rows of the network, counted in a forward pass of fake tensors.

    Args:
        family: `sd15`, `sdxl`, `sd3` or `flux`.
        side_px: Of the pictures.
        adapter: What is trained: a frozen layer keeps no input for its own gradient.
        rows: That go through the network at once.
        half: The network calculates in bfloat16.
        checkpointing: Only the inputs of blocks are kept.
    """
    dtype = torch.bfloat16 if half else torch.float32
    with torch.device("meta"):
        network = _network(family)
        attach(network.eval(), adapter, seed=0)
    with FakeTensorMode():
        _give_weights(network, dtype)
        largest = _LargestBlock(network)
        if checkpointing:
            network.enable_gradient_checkpointing(largest.run)
        architecture = _architecture(family, side_px)
        x_BKHW = torch.zeros(rows, *architecture.latent_KHW)
        told = _told(family, rows, dtype, "cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=half), _counted(network) as count:
            largest.outer = count
            architecture.predict(network, x_BKHW, torch.ones(rows), told)
    return Kept(count.bytes, largest.bytes)


@cache
def decoding_bytes(family: str, side_px: int, *, half: bool) -> int:
    """The autoencoder at work on one picture: the most that a layer's input, output and shortcut take."""
    most = 0

    def see(_module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        nonlocal most
        tensors = [part for part in (*inputs, output, output) if isinstance(part, Tensor)]
        most = max(most, sum(tensor.nbytes for tensor in tensors))

    with torch.device("meta"):
        autoencoder = _build(_shapes(family)["vae"]).requires_grad_(False)
    with FakeTensorMode(), torch.no_grad():
        _give_weights(autoencoder, torch.bfloat16 if half else torch.float32)
        for module in autoencoder.decoder.modules():
            if not list(module.children()):
                module.register_forward_hook(see)
        side = side_px // SCALE_PX
        channels = autoencoder.config.latent_channels
        autoencoder.decode(torch.zeros(1, channels, side, side, dtype=autoencoder.dtype))
    return most


@dataclass
class _Count:
    """Each storage once: views share theirs. Storages are held, so that no other gets the same address."""

    own: set[int]
    held: dict[int, Tensor] = field(default_factory=dict)
    bytes: int = 0

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own and storage._cdata not in self.held:
            self.held[storage._cdata] = tensor
            self.bytes += storage.nbytes()
        return tensor


@contextmanager
def _counted(network: torch.nn.Module) -> Iterator[_Count]:
    """What is saved for a backward pass inside, the network's own weights apart."""
    tensors = [*network.parameters(), *network.buffers()]
    count = _Count({tensor.untyped_storage()._cdata for tensor in tensors})
    with torch.autograd.graph.saved_tensors_hooks(count.add, lambda tensor: tensor):
        yield count


class _LargestBlock:
    """In place of `torch.utils.checkpoint`: a block's inputs are kept outside, the rest is only measured."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
        self.outer = _Count(set())
        self.bytes = 0

    def run(self, block: torch.nn.Module, *inputs: Any) -> Any:  # noqa: ANN401  # whatever a block takes
        for part in inputs:
            if isinstance(part, Tensor):
                self.outer.add(part)
        with _counted(self._network) as count:
            output = block(*inputs)
        self.bytes = max(self.bytes, count.bytes)
        return output


def _shapes(family: str) -> dict[str, dict[str, Any]]:
    shapes: dict[str, dict[str, dict[str, Any]]] = json.loads(PUBLISHED.read_text("utf-8"))
    if family not in shapes:
        raise InvalidInputError(f"no shapes of {family!r} are known: expected {', '.join(shapes)}")
    return shapes[family]


def _build(config: dict[str, Any]) -> Any:  # noqa: ANN401  # diffusers and transformers are untyped
    settings = dict(config)
    name = settings.pop("_class_name")
    kind = getattr(transformers, name, None)
    if kind is None:
        return getattr(diffusers, name).from_config(settings)
    return kind(kind.config_class(**settings))


def _network(family: str) -> Any:  # noqa: ANN401
    shapes = _shapes(family)
    return _build(shapes["unet"] if "unet" in shapes else shapes["transformer"])


def _give_weights(network: torch.nn.Module, frozen: torch.dtype) -> None:
    """In place of tensors on the meta device, where attention has no kernel; trained ones in float32."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            dtype = torch.float32 if weight.requires_grad else frozen
            made = torch.nn.Parameter(torch.empty(weight.shape, dtype=dtype), weight.requires_grad)
            setattr(module, name, made)
        for name, tensor in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(tensor.shape, dtype=tensor.dtype))


def _architecture(family: str, side_px: int) -> Architecture:
    side = side_px // SCALE_PX
    noise = Noise(torch.zeros(0, dtype=torch.float64), predicts_v=False)
    match family:
        case "sd15":
            return StableDiffusion((4, side, side), noise)
        case "sdxl":
            return StableDiffusionXL((4, side, side), noise, side_px)
        case "sd3":
            return StableDiffusion3((16, side, side))
        case _:
            return Flux((16, side, side), guidance=3.5)


def _told(family: str, rows: int, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    shapes = _shapes(family)
    network = shapes.get("unet") or shapes["transformer"]
    width = network.get("cross_attention_dim") or network["joint_attention_dim"]
    made: dict[str, tuple[int, ...]] = {"encoder_hidden_states": (rows, WORDS[family], width)}
    if "pooled_projection_dim" in network:
        made["pooled_projections"] = (rows, network["pooled_projection_dim"])
    if family == "sdxl":
        made |= {"text_embeds": (rows, shapes["text_encoder_2"]["projection_dim"]), "time_ids": (rows, 6)}
    return {name: torch.zeros(shape, dtype=dtype, device=device) for name, shape in made.items()}
