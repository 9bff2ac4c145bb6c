"""DDIM's table, against PCPO's numbers for Stable Diffusion 1.5 and against the equations written out."""

import math

import pytest
import torch

from indexer.errors import InvalidInputError
from training.diffusion.ddim import ddim_steps, leading, scaled_linear, uniform_sigma, with_sigma

ABAR = scaled_linear()
TIMES = leading(50)

# Stable Diffusion 1.5, 50 steps: step, timestep, native σ, native w, σ of the authors' root, true w there.
VECTOR = [
    (0, 981, 0.45446, 0.51255, 0.44671, 0.51265),
    (10, 781, 0.39075, 0.43798, 0.43045, 0.44048),
    (25, 481, 0.28769, 0.37568, 0.35767, 0.38628),
    (40, 181, 0.17707, 0.44754, 0.19190, 0.44931),
    (45, 81, 0.13233, 0.64034, 0.11314, 0.65084),
    (48, 21, 0.03948, 3.2748, 0.03593, 3.3684),
    (49, 1, 0.02065, 1.0032, 0.01476, 1.0943),
]


@pytest.mark.parametrize("row", VECTOR)
def test_the_table_of_stable_diffusion(row: tuple[int, int, float, float, float, float]) -> None:
    step, time, sigma, weight, other_sigma, other_weight = row
    native = ddim_steps(ABAR, TIMES)
    root = uniform_sigma(ABAR, TIMES)
    assert native.time_T[step] == time
    assert float(native.sigma_T[step]) == pytest.approx(sigma, abs=5e-6)
    assert float(native.weight_T[step]) == pytest.approx(weight, rel=5e-5)
    assert float(root[step]) == pytest.approx(other_sigma, abs=5e-6)
    assert float(with_sigma(ABAR, TIMES, root).weight_T[step]) == pytest.approx(other_weight, rel=5e-5)


def test_the_mean_native_weight_is_the_constant_of_the_papers_code() -> None:
    weight_T = ddim_steps(ABAR, TIMES).weight_T
    assert float(weight_T.mean()) == pytest.approx(4.5 / 8.70575076181, abs=1e-6)
    assert float(weight_T.min()) == pytest.approx(0.3741, abs=5e-5)
    assert float(weight_T.max()) == pytest.approx(3.2748, abs=5e-5)


def test_the_authors_root_solves_their_equation_and_not_ddims() -> None:
    sigma_T = uniform_sigma(ABAR, TIMES, weight=4.5)
    abar_T = ABAR[TIMES]
    following_T = ABAR[(TIMES - 20).clamp_min(0)]
    c_T = ((1 - abar_T) * following_T / abar_T).sqrt()
    torch.testing.assert_close(
        (c_T + (1 - following_T - sigma_T**2).sqrt()) / sigma_T, torch.full_like(c_T, 4.5)
    )


def test_a_weight_without_a_real_root_names_the_step() -> None:
    # 1 + w² < c² / B at the end of the schedule for the mean native weight: 7 of 50 steps, step 43 is the
    # first.
    with pytest.raises(InvalidInputError, match="step 43 of 50"):
        uniform_sigma(ABAR, TIMES, weight=0.5169)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_step_is_ddims_equation_12(eta: float) -> None:
    rng = torch.Generator().manual_seed(0)
    x, epsilon = torch.randn(2, 3, 4, 2, 2, generator=rng, dtype=torch.float64).unbind()
    steps = ddim_steps(ABAR, TIMES, eta)
    for step, time in enumerate(TIMES.tolist()):
        abar, following = float(ABAR[time]), float(ABAR[max(0, time - 20)])
        sigma = eta * math.sqrt((1 - following) / (1 - abar) * (1 - abar / following))
        clean = (x - math.sqrt(1 - abar) * epsilon) / math.sqrt(abar)
        expected = math.sqrt(following) * clean + math.sqrt(1 - following - sigma**2) * epsilon
        torch.testing.assert_close(steps.a_T[step] * x + steps.b_T[step] * epsilon, expected)
        assert float(steps.s_T[step]) == pytest.approx(sigma, abs=1e-12)


def test_without_noise_a_perfect_prediction_leads_to_the_picture() -> None:
    rng = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 1, 4, 2, 2, generator=rng, dtype=torch.float64).unbind()
    steps = ddim_steps(ABAR, TIMES, eta=0.0)
    x = ABAR[TIMES[0]].sqrt() * clean + (1 - ABAR[TIMES[0]]).sqrt() * noise
    for step in range(len(steps)):
        x = steps.a_T[step] * x + steps.b_T[step] * noise
    torch.testing.assert_close(x, ABAR[0].sqrt() * clean + (1 - ABAR[0]).sqrt() * noise)


def test_more_steps_than_timesteps_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="1001 steps"):
        leading(1001)
