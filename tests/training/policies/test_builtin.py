"""The builtin generator as a policy, and seen as a diffusion, against its own pipeline."""

from pathlib import Path

import pytest
import torch

from rerank.generate.builtin.folder import load_pipeline
from tests.support.tiny_policy import tiny_policy
from training.diffusion.ddim import ddim_steps, leading, scaled_linear
from training.diffusion.flow_sde import euler_steps, shifted_grid
from training.policies.as_diffusion import AsDiffusion
from training.rollout import draw, noise_of, roll_out

pytestmark = pytest.mark.slow

PROMPTS = ["a red fox", "the moon"]
RNG = torch.Generator()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_without_noise_it_draws_what_the_pipeline_draws(tiny_generator_folder: Path, guidance: float) -> None:
    policy = tiny_policy(tiny_generator_folder, adapter=None, guidance=guidance)
    start = noise_of([1, 2], policy.latent_KHW)
    steps = euler_steps(shifted_grid(6))
    drawn = roll_out(policy, policy.encode(PROMPTS), start, steps, RNG)
    pipeline = load_pipeline(tiny_generator_folder)
    expected = pipeline(
        PROMPTS, num_inference_steps=6, guidance_scale=guidance, latents=start, output_type="latent"
    )
    torch.testing.assert_close(drawn.x_T1BKHW[-1], expected, atol=1e-5, rtol=1e-5)
    pictures = draw(policy, PROMPTS, start, steps, RNG, batch=1)
    shown = pipeline(PROMPTS, num_inference_steps=6, guidance_scale=guidance, latents=start)
    assert max(abs(a.astype(int) - b).max() for a, b in zip(pictures, shown, strict=True)) <= 1


def test_seen_as_a_diffusion_it_predicts_the_noise_of_the_same_picture(tiny_generator_folder: Path) -> None:
    flow = tiny_policy(tiny_generator_folder, adapter=None)
    abar_S = scaled_linear()
    policy = AsDiffusion(flow, abar_S)
    pipeline = load_pipeline(tiny_generator_folder)
    x = noise_of([1, 2], flow.latent_KHW)
    token, pooled = pipeline.encode_prompts(PROMPTS)
    for time in (1, 300, 981):
        abar = float(abar_S[time])
        size = abar**0.5 + (1 - abar) ** 0.5
        t = (1 - abar) ** 0.5 / size
        clean = pipeline.clean(x / size, torch.full((2,), t), token, pooled)
        expected = (x - abar**0.5 * clean) / (1 - abar) ** 0.5  # x = √ᾱ x_0 + √(1 − ᾱ) ε
        found = policy.predict(x, torch.full((2,), float(time)), policy.encode(PROMPTS))
        torch.testing.assert_close(found, expected, atol=2e-3 / t, rtol=1e-3)


def test_both_ways_of_sampling_end_at_the_same_picture(tiny_generator_folder: Path) -> None:
    """The same ordinary differential equation, in two coordinates, from the same point."""
    flow = tiny_policy(tiny_generator_folder, adapter=None)
    abar_S = scaled_linear()
    policy = AsDiffusion(flow, abar_S)
    times = leading(500)
    abar = float(abar_S[times[0]])
    size = abar**0.5 + (1 - abar) ** 0.5
    x = noise_of([4], flow.latent_KHW)
    ddim = roll_out(policy, policy.encode(PROMPTS[:1]), x, ddim_steps(abar_S, times, eta=0.0), RNG)
    start = (1 - abar) ** 0.5 / size
    grid = shifted_grid(500) * start
    euler = roll_out(flow, flow.encode(PROMPTS[:1]), x / size, euler_steps(grid), RNG)
    torch.testing.assert_close(ddim.x_T1BKHW[-1], euler.x_T1BKHW[-1], atol=0.05, rtol=0.05)
