"""The law of `training.policies.policy.Policy`, on every implementation, with random weights."""

import atexit
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.policies import tiny_policy
from tests.support.threads import one_thread as one_thread
from tests.support.tiny_policy import LORA, tiny_folder
from tests.support.tiny_policy import tiny_policy as tiny_builtin
from training.diffusion.ddim import scaled_linear
from training.policies.as_diffusion import AsDiffusion
from training.policies.options import Adapter
from training.policies.policy import Conditioning, Policy
from training.policies.tiny import BUILDERS

PROMPTS = ("a red kite", "two blue boats at sea", "a red kite")
GUIDANCE = 3.0
ADAPTER = Adapter(rank=2, alpha=2.0, targets=("to_q", "to_v"))


_HOLDER = tempfile.TemporaryDirectory(prefix="kallos-policies-")
atexit.register(_HOLDER.cleanup)


@functools.cache
def builtin_folder() -> Path:
    return tiny_folder(Path(_HOLDER.name) / "generator")


def published(family: str) -> Policy:
    return tiny_policy(family, ADAPTER, guidance=GUIDANCE)


CASES: dict[str, Callable[[], Policy]] = {
    **{family: functools.partial(published, family) for family in BUILDERS},
    "builtin": lambda: tiny_builtin(builtin_folder(), LORA, GUIDANCE),
    "builtin as a diffusion": lambda: AsDiffusion(
        tiny_builtin(builtin_folder(), LORA, GUIDANCE), scaled_linear()
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def noise(policy: Policy, n: int = len(PROMPTS)) -> Tensor:
    return torch.randn(n, *policy.latent_KHW, generator=torch.Generator().manual_seed(5))


def times(policy: Policy) -> Tensor:
    """Another one for each row."""
    return (
        torch.tensor([900.0, 300.0, 20.0]) if policy.kind == "diffusion" else torch.tensor([0.9, 0.3, 0.02])
    )


def predicted(policy: Policy, x_BKHW: Tensor, t_B: Tensor, known: Conditioning) -> Tensor:
    with torch.no_grad():
        return policy.predict(x_BKHW, t_B, known)


@every_case
def test_it_predicts_in_float32_in_the_shape_of_its_latents_the_same_again(case: str) -> None:
    policy = CASES[case]()
    x_BKHW, known = noise(policy), policy.encode(PROMPTS)
    first = predicted(policy, x_BKHW, times(policy), known)
    assert (first.dtype, first.shape) == (torch.float32, x_BKHW.shape)
    assert first.device == policy.device
    assert bool(torch.isfinite(first).all())
    assert torch.equal(first, predicted(policy, x_BKHW, times(policy), known))


@every_case
def test_rows_do_not_influence_each_other(case: str) -> None:
    policy = CASES[case]()
    x_BKHW, known = noise(policy), policy.encode(PROMPTS)
    together = predicted(policy, x_BKHW, times(policy), known)
    for row, prompt in enumerate(PROMPTS):
        index = torch.tensor([row])
        for told in (known.rows(index), policy.encode([prompt])):
            alone = predicted(policy, x_BKHW[index], times(policy)[index], told)
            torch.testing.assert_close(alone, together[index], rtol=1e-4, atol=1e-5)


@every_case
def test_what_it_is_told_and_when_both_count(case: str) -> None:
    policy = CASES[case]()
    x_BKHW = noise(policy, 1).repeat(3, 1, 1, 1)
    same_B = times(policy)[:1].repeat(3)
    by_prompt = predicted(policy, x_BKHW, same_B, policy.encode(PROMPTS))
    assert not torch.allclose(by_prompt[0], by_prompt[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(by_prompt[0], by_prompt[2], rtol=1e-4, atol=1e-5)
    by_time = predicted(policy, x_BKHW, times(policy), policy.encode(PROMPTS[:1] * 3))
    assert not torch.allclose(by_time[0], by_time[2], rtol=0, atol=1e-6)


@every_case
def test_a_prompt_is_told_the_same_whatever_stands_beside_it(case: str) -> None:
    policy, other = CASES[case](), CASES[case]()
    first = policy.encode(PROMPTS[:2])
    again = other.encode(PROMPTS[1::-1]).rows(torch.tensor([1, 0]))
    joined = Conditioning.joined([policy.encode([prompt]) for prompt in PROMPTS[:2]])
    for known in (again, joined):
        assert known.told.keys() == first.told.keys()
        assert known.plain.keys() == first.plain.keys()
        for name, tensor in (first.told | first.plain).items():
            torch.testing.assert_close((known.told | known.plain)[name], tensor, rtol=1e-5, atol=1e-6)
            assert not tensor.requires_grad
            assert tensor.device == policy.device
    assert any(not torch.equal(tensor[0], tensor[1]) for tensor in first.told.values())


@every_case
def test_gradients_reach_all_that_is_trained_and_nothing_else(case: str) -> None:
    policy = CASES[case]()
    prediction = policy.predict(noise(policy), times(policy), policy.encode(PROMPTS))
    prediction.square().mean().backward()
    trained = {id(weight) for _, weight in policy.trainable()}
    assert trained
    for _, weight in policy.trainable():
        assert weight.dtype == torch.float32
        assert weight.grad is not None
    for name, weight in policy.network.named_parameters():
        assert (id(weight) in trained) == weight.requires_grad, name
        assert id(weight) in trained or weight.grad is None, name


@every_case
def test_what_is_trained_has_names_in_a_fixed_order_and_counts(case: str) -> None:
    policy, other = CASES[case](), CASES[case]()
    names = [name for name, _ in policy.trainable()]
    assert names == [name for name, _ in policy.trainable()] == [name for name, _ in other.trainable()]
    assert len(set(names)) == len(names)
    x_BKHW, known = noise(policy), policy.encode(PROMPTS)
    before = predicted(policy, x_BKHW, times(policy), known)
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.add_(0.1)
    assert not torch.allclose(predicted(policy, x_BKHW, times(policy), known), before, rtol=0, atol=1e-6)


@every_case
def test_it_decodes_to_square_pictures_one_a_row(case: str) -> None:
    policy = CASES[case]()
    x_BKHW = noise(policy).requires_grad_()
    pictures = policy.decode(x_BKHW)
    assert len(pictures) == len(PROMPTS)
    for row, picture in enumerate(pictures):
        side = len(picture)
        assert picture.dtype == np.uint8
        assert picture.shape == (side, side, 3)
        (alone,) = policy.decode(x_BKHW[row : row + 1])
        assert np.abs(alone.astype(int) - picture).max() <= 1  # of 255: a rounding
    assert x_BKHW.grad is None


@every_case
def test_equal_weights_have_one_name_and_one_kind(case: str) -> None:
    policy, other = CASES[case](), CASES[case]()
    assert policy.kind in ("diffusion", "flow")
    assert policy.model_id == other.model_id != ""
    assert policy.latent_KHW == other.latent_KHW
