"""LoRA: what is trained, that it starts from the base model, and what a file holds."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from indexer.errors import InvalidInputError
from tests.support.tiny_policy import EVERYTHING, LORA, tiny_policy
from training.policies.adapters import copy_of, holding, save
from training.policies.builtin import BuiltinPolicy
from training.policies.options import Adapter
from training.rollout import noise_of

T_B = torch.tensor([0.5, 0.7])


def _predicted(policy: BuiltinPolicy) -> torch.Tensor:
    return policy.predict(noise_of([1, 2], policy.latent_KHW), T_B, policy.encode(["a", "b"])).detach()


def _change(policy: BuiltinPolicy) -> None:
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.add_(0.1 * torch.randn(weight.shape, generator=rng))


def test_a_fresh_adapter_changes_nothing_and_is_all_that_is_trained(tiny_generator_folder: Path) -> None:
    frozen, adapted = tiny_policy(tiny_generator_folder, adapter=None), tiny_policy(tiny_generator_folder)
    torch.testing.assert_close(_predicted(adapted), _predicted(frozen), atol=1e-6, rtol=1e-6)
    assert not list(frozen.trainable())
    assert all("lora_" in name for name, _ in adapted.trainable())


def test_the_first_weights_follow_from_the_seed(tiny_generator_folder: Path) -> None:
    one, other = (copy_of(tiny_policy(tiny_generator_folder).trainable()) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("adapter", [LORA, EVERYTHING])
def test_holding_the_first_weights_is_the_base_model(tiny_generator_folder: Path, adapter: Adapter) -> None:
    policy = tiny_policy(tiny_generator_folder, adapter=adapter)
    before, first = _predicted(policy), copy_of(policy.trainable())
    _change(policy)
    after = _predicted(policy)
    with holding(policy, first):
        torch.testing.assert_close(_predicted(policy), before, atol=0, rtol=0)
    torch.testing.assert_close(_predicted(policy), after, atol=0, rtol=0)
    assert float((after - before).abs().max()) > 0.01


def test_a_saved_adapter_merged_by_hand_is_the_trained_model(
    tiny_generator_folder: Path, tmp_path: Path
) -> None:
    """W + B A for linear layers; for a convolution B is 1 x 1 and A has the kernel: the product of
    matrices.
    """
    policy = tiny_policy(tiny_generator_folder)
    _change(policy)
    saved = load_file(save(policy.network, LORA, "unet", tmp_path))
    assert tmp_path / "adapter/pytorch_lora_weights.safetensors" in (tmp_path / "adapter").iterdir()
    merged = tiny_policy(tiny_generator_folder, adapter=EVERYTHING)
    weights = dict(merged.network.named_parameters())
    with torch.no_grad():
        for key in [key for key in saved if key.endswith(".lora_A.weight")]:
            name = key.removeprefix("unet.").removesuffix(".lora_A.weight")
            a, b = saved[key], saved[key.replace("lora_A", "lora_B")]
            weight = weights[f"{name}.weight"]
            weight.add_((b.flatten(1) @ a.flatten(1)).view_as(weight))
    torch.testing.assert_close(_predicted(merged), _predicted(policy), atol=1e-4, rtol=1e-4)


def test_all_weights_are_saved_when_all_are_trained(tiny_generator_folder: Path, tmp_path: Path) -> None:
    policy = tiny_policy(tiny_generator_folder, adapter=EVERYTHING)
    _change(policy)
    saved = load_file(save(policy.network, EVERYTHING, "unet", tmp_path))
    assert all(torch.equal(saved[name], weight) for name, weight in policy.network.named_parameters())


def test_targets_that_are_no_layers_are_refused(tiny_generator_folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing_like_it"):
        tiny_policy(tiny_generator_folder, adapter=Adapter(targets=("nothing_like_it",)))
