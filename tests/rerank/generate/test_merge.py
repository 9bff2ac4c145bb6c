"""Weights merged by NumPy are those that peft merges, and the graph reads them where it read the old."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from safetensors.numpy import load_file, save_file

from indexer.errors import CorruptStoreError, InvalidInputError
from rerank.generate.builtin.folder import WEIGHTS, load_pipeline
from rerank.generate.builtin.generator import BuiltinGenerator
from rerank.generate.request import GenerationRequest
from rerank.generate.tuned.merge import merge_adapter, replace_weights
from tests.support.tiny_generator import random_codec, tiny_config
from training.generator.export import save_folder
from training.generator.model import build
from training.policies import adapters
from training.policies.options import Adapter

pytestmark = pytest.mark.slow

LAYERS = ("to_q", "to_out.0", "conv1", "conv_shortcut", "proj_in", "linear_1")  # 1 x 1 and 3 x 3, with linear
HALF = 2**-11  # relative rounding of float16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    config = tiny_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        weights = build(config).state_dict()
    save_folder(config, weights, random_codec(config.latents.patch_px, config.latents.channels), out)
    return out


def trained(folder: Path, out: Path, targets: Sequence[str], alpha: float = 6.0) -> UNet2DConditionModel:
    """The network with an adapter of random numbers, which is saved below `out`."""
    network = load_pipeline(folder).unet.float()
    adapter = Adapter(rank=3, alpha=alpha, targets=tuple(targets))
    adapters.attach(network, adapter, seed=1)
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, weight in adapters.trainable(network):
            weight.copy_(0.2 * torch.randn(weight.shape, generator=rng))
    adapters.save(network, adapter, "unet", out)
    return network


def test_a_merged_adapter_is_what_peft_merges(folder: Path, tmp_path: Path) -> None:
    network = trained(folder, tmp_path, LAYERS)
    weights = folder / "unet" / WEIGHTS
    merge_adapter(weights, tmp_path / "adapter" / adapters.LORA_FILE, "unet", tmp_path / "merged.safetensors")
    before, after = load_file(weights), load_file(tmp_path / "merged.safetensors")
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, LoraLayer)}
    kinds = {(type(layer.get_base_layer()).__name__, layer.weight.shape[2:]) for layer in layers.values()}
    assert kinds == {("Linear", ()), ("Conv2d", (1, 1)), ("Conv2d", (3, 3))}
    for name, layer in layers.items():
        layer.merge()
        expected = layer.get_base_layer().weight.detach().numpy()
        assert np.abs(after[f"{name}.weight"] - before[f"{name}.weight"]).max() > 0.01
        np.testing.assert_allclose(after[f"{name}.weight"], expected, rtol=2 * HALF, atol=1e-5)
    untouched = before.keys() - {f"{name}.weight" for name in layers}
    for name in untouched:
        np.testing.assert_array_equal(after[name], before[name])


def test_the_graph_draws_with_the_merged_weights(folder: Path, tmp_path: Path) -> None:
    """Pictures of the merged folder, without torch, against the pipeline with peft's adapter in it."""
    network = trained(folder, tmp_path, LAYERS)
    merged = tmp_path / "merged"
    shutil.copytree(folder, merged)
    adapter = tmp_path / "adapter" / adapters.LORA_FILE
    merge_adapter(folder / "unet" / WEIGHTS, adapter, "unet", merged / "unet" / WEIGHTS)
    pipeline = load_pipeline(folder)
    request = GenerationRequest("a red fox", seed=5, steps=4)
    start = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 8, 4, 4), dtype=np.float32))
    pipeline.unet = network
    expected = pipeline("a red fox", num_inference_steps=4, latents=start)[0]
    found = BuiltinGenerator(threads=1, folder=merged).generate(request).pixels.astype(int)
    plain = BuiltinGenerator(threads=1, folder=folder).generate(request).pixels.astype(int)
    assert np.abs(found - np.asarray(expected)).mean() < 1
    assert np.abs(plain - np.asarray(expected)).mean() > 3


def test_all_weights_take_the_place_of_the_old(folder: Path, tmp_path: Path) -> None:
    network = load_pipeline(folder).unet.float()
    network.requires_grad_(True)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.25)
    path = adapters.save(network, Adapter(rank=0), "unet", tmp_path)
    weights = folder / "unet" / WEIGHTS
    replace_weights(weights, path, tmp_path / "out.safetensors")
    before, after = load_file(weights), load_file(tmp_path / "out.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        np.testing.assert_allclose(tensor, 1.25 * before[name].astype(np.float32), rtol=HALF, atol=1e-7)
    save_file(dict(list(load_file(path).items())[1:]), tmp_path / "less.safetensors")
    with pytest.raises(InvalidInputError, match="not the weights of this network"):
        replace_weights(weights, tmp_path / "less.safetensors", tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "found none"),
        ({"unet.nothing.lora_A.weight": (2, 4), "unet.nothing.lora_B.weight": (4, 2)}, "nothing is no layer"),
        ({"unet.conv_in.lora_A.weight": (2, 8, 3, 3)}, "conv_in.lora_B"),
        ({"unet.conv_in.alpha": (1,)}, "conv_in.alpha"),
        (
            {"unet.conv_in.lora_A.weight": (2, 8, 1, 1), "unet.conv_in.lora_B.weight": (16, 2, 1, 1)},
            "do not fit a weight of",
        ),
        (
            {"transformer.x.lora_A.weight": (2, 4), "transformer.x.lora_B.weight": (4, 2)},
            "expected pairs unet",
        ),
    ],
)
def test_an_adapter_of_something_else_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, tuple[int, ...]], expected: str
) -> None:
    save_file(
        {name: np.ones(shape, np.float32) for name, shape in change.items()}, tmp_path / "a.safetensors"
    )
    with pytest.raises(InvalidInputError, match=expected):
        merge_adapter(folder / "unet" / WEIGHTS, tmp_path / "a.safetensors", "unet", tmp_path / "out")


def test_numbers_that_the_weights_cannot_hold_are_refused(folder: Path, tmp_path: Path) -> None:
    shapes = {"unet.conv_in.lora_A.weight": (1, 8, 3, 3), "unet.conv_in.lora_B.weight": (16, 1, 1, 1)}
    tensors = {name: np.full(shape, 1000, np.float32) for name, shape in shapes.items()}  # 10⁶ > 65504
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InvalidInputError, match="numbers that F16 cannot"):
        merge_adapter(folder / "unet" / WEIGHTS, tmp_path / "a.safetensors", "unet", tmp_path / "out")
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    with pytest.raises(CorruptStoreError, match="not weights"):
        merge_adapter(folder / "unet" / WEIGHTS, tmp_path / "a.safetensors", "unet", tmp_path / "out")
