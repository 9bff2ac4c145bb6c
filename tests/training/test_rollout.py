"""Trajectories hold what the objectives need, and nothing else decides them but weights, prompts and
seeds.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.tiny_policy import tiny_policy
from training.diffusion.flow_sde import flow_grpo_steps, shifted_grid
from training.diffusion.steps import logp_mean_B
from training.objectives.pcpo import lambda_T
from training.policies.adapters import copy_of
from training.rollout import Trajectories, noise_of, roll_out

PROMPTS = ["a", "b", "c"]
STEPS = flow_grpo_steps(shifted_grid(5), last_is_noisy=False)


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def test_each_step_is_its_mean_and_the_noise_that_was_drawn(tiny_generator_folder: Path) -> None:
    policy = tiny_policy(tiny_generator_folder)
    drawn = roll_out(policy, policy.encode(PROMPTS), noise_of([1, 2, 3], policy.latent_KHW), STEPS, _rng())
    for step in range(5):
        x = drawn.x_T1BKHW[step]
        mean = STEPS.mean(step, x, drawn.prediction_TBKHW[step])
        following = mean + STEPS.std(step, x) * drawn.noise_TBKHW[step]
        torch.testing.assert_close(drawn.x_T1BKHW[step + 1], following)
        if step < 4:
            logp_B = logp_mean_B(drawn.x_T1BKHW[step + 1], mean, STEPS.std(step, x))
            expected_B = (
                torch.distributions.Normal(0.0, 1.0).log_prob(drawn.noise_TBKHW[step]).flatten(1).mean(1)
            )
            torch.testing.assert_close(
                logp_B + STEPS.s_T[step].float().log(), expected_B, atol=1e-5, rtol=1e-5
            )


def test_the_same_seeds_draw_the_same_and_others_others(tiny_generator_folder: Path) -> None:
    policy = tiny_policy(tiny_generator_folder)
    known, start = policy.encode(PROMPTS), noise_of([1, 2, 3], policy.latent_KHW)
    one, two = (roll_out(policy, known, start, STEPS, _rng()).x_T1BKHW for _ in range(2))
    assert torch.equal(one, two)
    other = roll_out(policy, known, start, STEPS, torch.Generator().manual_seed(10)).x_T1BKHW
    assert not torch.equal(one[-1], other[-1])


def test_parts_that_are_joined_keep_their_rows(tiny_generator_folder: Path) -> None:
    policy = tiny_policy(tiny_generator_folder)
    start = noise_of([1, 2, 3], policy.latent_KHW)
    parts = [
        roll_out(policy, policy.encode(PROMPTS[part]), start[part], STEPS, _rng())
        for part in (slice(0, 2), slice(2, 3))
    ]
    joined = Trajectories.joined(parts)
    assert len(joined) == 3
    assert torch.equal(joined.x_T1BKHW[:, 2:], parts[1].x_T1BKHW)
    assert torch.equal(joined.known.told["pooled"], policy.encode(PROMPTS).told["pooled"])


def test_the_reference_is_the_base_model_at_the_same_latents(tiny_generator_folder: Path) -> None:
    policy = tiny_policy(tiny_generator_folder)
    base = copy_of(policy.trainable())
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.add_(0.05)
    known, start = policy.encode(PROMPTS), noise_of([1, 2, 3], policy.latent_KHW)
    drawn = roll_out(policy, known, start, STEPS, _rng(), base=base)
    frozen = tiny_policy(tiny_generator_folder, adapter=None)
    assert drawn.reference_TBKHW is not None
    for step in range(5):
        t_B = STEPS.time_T[step].float().expand(3)
        expected = frozen.predict(drawn.x_T1BKHW[step], t_B, known)
        torch.testing.assert_close(drawn.reference_TBKHW[step], expected, atol=1e-5, rtol=1e-5)
        assert float((drawn.prediction_TBKHW[step] - expected).abs().max()) > 1e-3


def test_a_blend_samples_with_a_part_of_the_change(tiny_generator_folder: Path) -> None:
    policy = tiny_policy(tiny_generator_folder)
    base = copy_of(policy.trainable())
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.add_(0.05)
    noisy = flow_grpo_steps(shifted_grid(5))
    steps = replace(noisy, blend_T=lambda_T(noisy))
    start = noise_of([1, 2, 3], policy.latent_KHW)
    drawn = roll_out(policy, policy.encode(PROMPTS), start, steps, _rng(), base=base)
    assert drawn.reference_TBKHW is not None
    old, reference = drawn.prediction_TBKHW[2], drawn.reference_TBKHW[2]
    used = reference + float(lambda_T(noisy)[2]) * (old - reference)
    x = drawn.x_T1BKHW[2]
    following = noisy.mean(2, x, used) + noisy.std(2, x) * drawn.noise_TBKHW[2]
    torch.testing.assert_close(drawn.x_T1BKHW[3], following)


def test_noise_depends_on_the_seed_alone() -> None:
    assert torch.equal(noise_of([5, 6], (3, 2, 2))[1], noise_of([6], (3, 2, 2))[0])


@pytest.mark.parametrize("seed", [0, 2**62])
def test_noise_is_normal(seed: int) -> None:
    noise = noise_of([seed], (64, 16, 16))
    assert abs(float(noise.mean())) < 0.03
    assert float(noise.std()) == pytest.approx(1, abs=0.03)
