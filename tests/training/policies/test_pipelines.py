"""Policies of published families, on random weights: their own diffusers pipelines are the oracle."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from indexer.errors import InvalidInputError, UnknownModelError
from tests.support.policies import CPU, tiny_policy
from tests.support.tiny_pipelines import SEED, write_pipeline
from training.config import read_config
from training.policies.adapters import save
from training.policies.flux import packed
from training.policies.options import Adapter
from training.policies.pipeline import PipelinePolicy
from training.policies.policy import Policy
from training.policies.registry import TINY_SEED, load_policy, tiny_name
from training.policies.stable_diffusion import StableDiffusion
from training.policies.tiny import BUILDERS, SIDE_PX, tiny_pipeline
from training.policy_gradient.config import PolicyGradientConfig

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROMPTS = ("a red kite", "two blue boats at sea")
GUIDANCE = 3.0
STEPS = 3
CONFIGS = {"sd15": "gpu_sd15", "sdxl": "gpu_sd15", "sd3": "gpu_sd35m", "flux": "gpu_flux"}
TARGETS = {
    family: read_config(PolicyGradientConfig, ROOT / f"configs/{name}.toml").policy.adapter.targets
    for family, name in CONFIGS.items()
}
ALL = pytest.mark.parametrize("family", BUILDERS)


def noise(policy: Policy, n: int = len(PROMPTS), seed: int = 5) -> Tensor:
    return torch.randn(n, *policy.latent_KHW, generator=torch.Generator().manual_seed(seed))


def own(family: str, **extra: Any) -> Any:  # noqa: ANN401  # diffusers is untyped
    """The pipeline whose weights `tiny:` policies have."""
    pipeline = tiny_pipeline(family, seed=TINY_SEED, **extra)
    if family == "sdxl":  # its usual Euler scheduler counts noise in other units than ᾱ
        pipeline.scheduler = DDIMScheduler.from_config(
            pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False
        )
    return pipeline


def drawn_by(pipeline: Any, family: str, x_BKHW: Tensor, output: str) -> Any:  # noqa: ANN401
    return pipeline(
        list(PROMPTS),
        width=SIDE_PX,
        height=SIDE_PX,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        latents=packed(x_BKHW) if family == "flux" else x_BKHW,
        output_type=output,
    ).images


@torch.no_grad()
def drawn_through(policy: Policy, pipeline: Any, x_BKHW: Tensor) -> Tensor:  # noqa: ANN401
    """The scheduler's steps over `predict`, at the times that the pipeline's last call left behind."""
    known, scheduler = policy.encode(PROMPTS), pipeline.scheduler
    if policy.kind == "flow":  # Euler
        for t, t_next in zip(scheduler.sigmas[:-1], scheduler.sigmas[1:], strict=True):
            x_BKHW = x_BKHW + (t_next - t) * policy.predict(x_BKHW, t.expand(len(x_BKHW)), known)
        return x_BKHW
    for time in scheduler.timesteps:
        epsilon_BKHW = policy.predict(x_BKHW, time.float().expand(len(x_BKHW)), known)
        x_BKHW = scheduler.step(epsilon_BKHW, time, x_BKHW, return_dict=False)[0]
    return x_BKHW


@ALL
def test_steps_over_predict_end_where_the_pipeline_ends(family: str) -> None:
    policy, pipeline = tiny_policy(family, guidance=GUIDANCE), own(family)
    x_BKHW = noise(policy)
    expected = drawn_by(pipeline, family, x_BKHW, "latent")
    found = drawn_through(policy, pipeline, x_BKHW)
    found = packed(found) if family == "flux" else found
    assert float((found - x_BKHW.reshape(found.shape)).abs().max()) > 0.1  # something happened
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@ALL
def test_decode_shows_what_the_pipeline_shows(family: str) -> None:
    policy, pipeline = tiny_policy(family, guidance=GUIDANCE), own(family)
    x_BKHW = noise(policy)
    expected = np.rint(drawn_by(pipeline, family, x_BKHW, "np") * 255)
    found = np.stack(policy.decode(drawn_through(policy, pipeline, x_BKHW)))
    assert found.dtype == np.uint8
    assert found.shape == (len(PROMPTS), SIDE_PX, SIDE_PX, 3)
    assert np.abs(found - expected).max() <= 1  # of 255: a rounding


@ALL
def test_the_empty_prompt_is_told_where_guidance_is_mixed_in(family: str) -> None:
    assert bool(tiny_policy(family, guidance=GUIDANCE).encode(PROMPTS).plain) == (family != "flux")


@ALL
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_adapter_and_nothing_else(family: str, checkpointing: bool) -> None:
    adapter = Adapter(rank=2, alpha=2.0, targets=TARGETS[family])
    policy = tiny_policy(family, adapter, guidance=GUIDANCE, checkpointing=checkpointing)
    plain = tiny_policy(family, adapter, guidance=GUIDANCE)
    t_B = torch.tensor([500.0, 20.0]) / (1000 if policy.kind == "flow" else 1)
    for one in (policy, plain):
        one.predict(noise(one), t_B, one.encode(PROMPTS)).square().mean().backward()
    expected = dict(plain.trainable())
    for name, weight in policy.trainable():
        assert weight.grad is not None, name
        assert "lora_" in name
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight.grad, expected[name].grad)
    assert any(
        float(weight.grad.abs().max()) > 0 for _, weight in policy.trainable() if weight.grad is not None
    )
    frozen = [weight for name, weight in policy.network.named_parameters() if "lora_" not in name]
    assert all(weight.grad is None for weight in frozen)


def train_at_random(policy: Policy) -> None:
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.copy_(torch.randn(weight.shape, generator=rng))


@ALL
def test_a_saved_adapter_makes_the_pipeline_draw_what_the_policy_draws(family: str, tmp_path: Path) -> None:
    adapter = Adapter(rank=2, alpha=3.0, targets=TARGETS[family])
    policy, pipeline = tiny_policy(family, adapter, guidance=GUIDANCE), own(family)
    x_BKHW = noise(policy)
    before = drawn_by(pipeline, family, x_BKHW, "np")
    train_at_random(policy)
    path = save(policy.network, adapter, policy.part, tmp_path)
    pipeline = own(family)
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    after = drawn_by(pipeline, family, x_BKHW, "np")
    found = np.stack(policy.decode(drawn_through(policy, pipeline, x_BKHW)))
    assert np.abs(np.rint(after * 255) - np.rint(before * 255)).max() > 1
    assert np.abs(found - np.rint(after * 255)).max() <= 1


def test_velocities_are_turned_into_noise() -> None:
    """The same network, said to predict v: DDIM in terms of v is the oracle."""
    pipeline = own("sd15")
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    epsilon = own("sd15")
    policy = policy_of(pipeline)
    x_BKHW = noise(policy)
    expected = drawn_by(pipeline, "sd15", x_BKHW, "latent")
    drawn_by(epsilon, "sd15", x_BKHW, "latent")  # leaves its times behind
    torch.testing.assert_close(drawn_through(policy, epsilon, x_BKHW), expected, rtol=1e-4, atol=1e-4)


def policy_of(pipeline: Any) -> PipelinePolicy:  # noqa: ANN401
    architecture = StableDiffusion.of(pipeline, SIDE_PX)
    options = replace(CPU, guidance=GUIDANCE)
    return PipelinePolicy(pipeline, architecture, "of a test", torch.device("cpu"), options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.scheduler.register_to_config(prediction_type="sample"), "predicts 'sample'"),
        (lambda p: p.scheduler.register_to_config(rescale_betas_zero_snr=True), "the schedule of Stable"),
        (lambda p: p.unet.register_to_config(time_cond_proj_dim=8), "time_cond_proj_dim"),
    ],
)
def test_a_model_that_samplers_would_misread_is_refused(change: Callable[[Any], None], words: str) -> None:
    pipeline = own("sd15")
    change(pipeline)
    with pytest.raises(InvalidInputError, match=words):
        policy_of(pipeline)


def test_flux_is_told_its_guidance_and_predicts_once() -> None:
    weak, strong = (tiny_policy("flux", guidance=guidance) for guidance in (1.0, 8.0))
    known, t_B = weak.encode(PROMPTS), torch.tensor([0.5, 0.5])
    with torch.no_grad():
        difference = weak.predict(noise(weak), t_B, known) - strong.predict(noise(weak), t_B, known)
    assert float(difference.abs().max()) > 1e-5


@ALL
def test_half_precision_predicts_nearly_the_same_in_float32(family: str, tmp_path: Path) -> None:
    folder = write_pipeline(family, tmp_path / family)
    adapter = Adapter(rank=2, alpha=2.0, targets=TARGETS[family])
    options = replace(CPU, guidance=GUIDANCE, rests=True)
    whole, half = (
        load_policy(f"diffusers:{folder}", adapter, replace(options, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert half.model_id == whole.model_id != tiny_policy(family).model_id
    assert {weight.dtype for _, weight in half.trainable()} == {torch.float32}
    assert {weight.dtype for weight in half.network.parameters()} == {torch.float32, torch.bfloat16}
    t_B = torch.tensor([500.0, 20.0]) / (1000 if whole.kind == "flow" else 1)
    one, other = (policy.predict(noise(whole), t_B, policy.encode(PROMPTS)) for policy in (whole, half))
    assert other.dtype == torch.float32
    assert float((one - other).detach().abs().max()) < 0.1 * float(one.detach().abs().max())
    other.square().mean().backward()
    assert all(weight.grad is not None for _, weight in half.trainable())
    assert len(half.decode(noise(half))) == len(PROMPTS)


def test_a_network_that_is_trained_whole_rests_in_float32(tmp_path: Path) -> None:
    folder = write_pipeline("sd15", tmp_path / "sd15")
    options = replace(CPU, precision="bfloat16")
    policy = load_policy(f"diffusers:{folder}", Adapter(rank=0), options)
    assert {weight.dtype for weight in policy.network.parameters()} == {torch.float32}
    assert len(list(policy.trainable())) == len(list(policy.network.parameters()))


@pytest.mark.parametrize(("family", "side_px"), [("sd15", 34), ("sd3", 264), ("flux", 34), ("sdxl", 8)])
def test_a_side_that_the_network_cannot_draw_is_refused(family: str, side_px: int, tmp_path: Path) -> None:
    folder = write_pipeline(family, tmp_path / family)
    with pytest.raises(InvalidInputError, match=f"side_px is {side_px}: expected"):
        load_policy(f"diffusers:{folder}", None, replace(CPU, side_px=side_px))


@pytest.mark.parametrize("name", ["sd15", "tiny:sd9", "diffusers:nobody"])
def test_an_unknown_name_is_told_what_is_possible(name: str) -> None:
    with pytest.raises(UnknownModelError, match="possible"):
        load_policy(name, None, CPU)


def test_the_builtin_generator_is_a_policy_too() -> None:
    assert load_policy("builtin", Adapter(rank=4), CPU).kind == "flow"
    with pytest.raises(InvalidInputError, match="takes no precision"):
        load_policy("builtin", None, replace(CPU, side_px=64))


def test_a_dry_run_needs_no_files_of_published_models(tmp_path: Path) -> None:
    assert tiny_name("builtin") == "builtin"
    assert tiny_name("diffusers:black-forest-labs/FLUX.1-dev") == "tiny:flux"
    folder = write_pipeline("sd3", tmp_path / "mine")
    assert tiny_name(f"diffusers:{folder}") == "tiny:sd3"


def test_the_same_seed_draws_the_same_weights() -> None:
    one, other = (tiny_pipeline("flux", seed=SEED).transformer.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
