"""The SDEs of DanceGRPO and Flow-GRPO, against the papers' numbers and against a simulation's moments."""

import pytest
import torch

from indexer.errors import InvalidInputError
from training.diffusion.flow_sde import dance_grpo_steps, euler_steps, flow_grpo_steps, shifted_grid
from training.diffusion.steps import Steps


def test_the_grid_of_flux() -> None:
    steps = dance_grpo_steps(shifted_grid(16, shift=3.0), eta=0.3)
    assert steps.dt_T is not None
    assert steps.dt_T[[0, 8, 15]].tolist() == pytest.approx([0.02173913, 0.05, 0.16666667])
    assert steps.weight_T[[0, 8, 15]].tolist() == pytest.approx([0.49147, 0.75654, 1.66701], abs=5e-6)
    assert float(steps.weight_T.sum()) == pytest.approx(13.3432, abs=5e-5)


def test_the_grid_of_stable_diffusion_3() -> None:
    # t = 1 is replaced by the second time in the denominator 1 − t only.
    assert float(flow_grpo_steps(shifted_grid(10, shift=3.0), a=0.7).weight_T.sum()) == pytest.approx(
        4.297, abs=5e-4
    )


def test_a_step_of_dance_grpo_is_its_published_form() -> None:
    # mean = x + Δσ v − ½ η² score Δσ with score = −(x − (1 − σ) x_0) / σ², x_0 = x − σ v, Δσ < 0.
    rng = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 3, 4, 2, 2, generator=rng, dtype=torch.float64).unbind()
    grid = shifted_grid(16, shift=3.0)
    steps = dance_grpo_steps(grid, eta=0.3)
    for step in range(16):
        sigma, change = grid[step], grid[step + 1] - grid[step]
        score = -(x - (1 - sigma) * (x - sigma * v)) / sigma**2
        expected = x + change * v - 0.5 * 0.3**2 * score * change
        torch.testing.assert_close(steps.a_T[step] * x + steps.b_T[step] * v, expected)
        assert float(steps.s_T[step]) == pytest.approx(0.3 * float(-change) ** 0.5)


@pytest.mark.parametrize(
    "steps",
    [
        flow_grpo_steps(shifted_grid(400), a=0.7),
        dance_grpo_steps(shifted_grid(400), eta=0.5),
        euler_steps(shifted_grid(400)),
    ],
)
def test_the_marginals_are_those_of_the_ode(steps: Steps) -> None:
    """Of a normal x_0 ~ N(m, q²) the velocity is known: v = E[n − x_0 | x_t], linear in x."""
    m, q = 2.0, 0.5
    a, variance = 0.0, 1.0  # mean and variance of x, followed exactly: every step is linear in x
    for step, t in enumerate(steps.time_T.tolist()):
        total = (1 - t) ** 2 * q**2 + t**2
        slope = (t - (1 - t) * q**2) / total  # Cov(n − x_0, x_t) / Var(x_t)
        offset = -m - slope * (1 - t) * m
        factor = float(steps.a_T[step]) + float(steps.b_T[step]) * slope
        a = factor * a + float(steps.b_T[step]) * offset
        variance = factor**2 * variance + float(steps.s_T[step]) ** 2
    assert a == pytest.approx(m, abs=0.02)
    assert variance**0.5 == pytest.approx(q, abs=0.06)


def test_a_last_step_without_noise_has_no_weight() -> None:
    steps = flow_grpo_steps(shifted_grid(8), a=0.7, last_is_noisy=False)
    assert steps.s_T[-1] == 0
    assert steps.weight_T[-1] == float("inf")
    assert bool(steps.weight_T[:-1].isfinite().all())


def test_a_single_step_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="1 steps"):
        shifted_grid(1)
