"""PCPO: the closed form against densities, the hinge against PPO's clip, weights against the papers'
numbers.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from indexer.errors import InvalidInputError
from training.diffusion.ddim import ddim_steps, leading, scaled_linear
from training.diffusion.flow_sde import dance_grpo_steps, flow_grpo_steps, shifted_grid
from training.diffusion.steps import Steps, logp_mean_B
from training.objectives.pcpo import (
    constant_weight,
    lambda_T,
    log_hinge,
    log_ratio,
    proportionate_weight,
)
from training.objectives.pcpo import (
    is_clipped as sends_no_gradient,
)
from training.objectives.ppo_clip import clipped_surrogate, is_clipped

DDIM = ddim_steps(scaled_linear(), leading(50))
FLUX = dance_grpo_steps(shifted_grid(16, shift=3.0), eta=0.3)
SD3 = flow_grpo_steps(shifted_grid(10, shift=3.0), a=0.7)
CLIP = 1e-4


def _drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, an old prediction, a new one that differs a little, the noise; float64."""
    rng = torch.Generator().manual_seed(seed)
    x, old, change, z = torch.randn(4, 5, 4, 3, 3, generator=rng, dtype=torch.float64).unbind()
    return x, old, old + 0.05 * change, z


@pytest.mark.parametrize(
    ("steps", "step"), [(DDIM, 0), (DDIM, 25), (DDIM, 48), (FLUX, 3), (SD3, 0), (SD3, 9)]
)
def test_the_closed_form_is_the_difference_of_log_densities(steps: Steps, step: int) -> None:
    x, old, new, z = _drawn()
    a, b, s = steps.a_T[step], steps.b_T[step], steps.s_T[step]
    following = a * x + b * old + s * z
    direct_B = logp_mean_B(following, a * x + b * new, s) - logp_mean_B(following, a * x + b * old, s)
    closed_B = log_ratio(new - old, z, steps.weight_T[step].expand(5))
    torch.testing.assert_close(closed_B, direct_B)


def test_log_densities_are_those_of_torch() -> None:
    x, mean, _, _ = _drawn()
    std = torch.tensor(0.3, dtype=torch.float64)
    expected = torch.distributions.Normal(mean, std).log_prob(x).flatten(1).mean(1)
    torch.testing.assert_close(logp_mean_B(x, mean, std), expected)


def test_the_loss_where_nothing_has_changed_yet() -> None:
    """Loss ξ |A|; gradient in the prediction A w z / D, which is −A times that of log ρ."""
    _, old, _, z = _drawn()
    prediction = old.float().clone().requires_grad_()
    adv_B = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0])
    weight_B = torch.full((5,), 0.5169)
    loss_B = log_hinge(log_ratio(prediction - old.float(), z.float(), weight_B), adv_B, CLIP)
    torch.testing.assert_close(loss_B, CLIP * adv_B.abs())
    loss_B.sum().backward()
    elements = 4 * 3 * 3
    expected = adv_B[:, None, None, None] * 0.5169 / elements * z.float()
    torch.testing.assert_close(prediction.grad, expected)


@given(
    st.floats(-3e-4, 3e-4).filter(lambda x: abs(abs(x) - CLIP) > 1e-8),
    st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3),
)
def test_the_hinge_sends_no_gradient_where_ppo_clips_and_has_its_gradient_elsewhere(
    log_rho: float, adv: float
) -> None:
    """Up to ρ − 1 = log ρ, which is off by ξ / 2 at most here."""
    gradients = []
    for loss in (log_hinge, clipped_surrogate):
        at = torch.tensor([log_rho], dtype=torch.float64, requires_grad=True)
        loss(at, torch.tensor([adv], dtype=torch.float64), CLIP).sum().backward()
        assert at.grad is not None
        gradients.append(at.grad.item())
    hinge, ppo = gradients
    flat = bool(
        sends_no_gradient(
            torch.tensor([log_rho], dtype=torch.float64), torch.tensor([adv], dtype=torch.float64), CLIP
        )
    )
    assert (hinge == 0) == flat
    assert hinge == pytest.approx(ppo, rel=5e-4)


def test_ppo_clips_on_the_side_that_the_advantage_pulls_to() -> None:
    log_ratio_B = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5]))
    adv_B = torch.tensor([1.0, 1.0, -1.0, -1.0])
    # −min(ρ A, clip(ρ) A) with ξ = 0.2: 1.2 · 1, 0.5 · 1, 1.5 · −1, 0.8 · −1
    torch.testing.assert_close(
        clipped_surrogate(log_ratio_B, adv_B, 0.2), torch.tensor([-1.2, -0.5, 1.5, 0.8])
    )
    assert is_clipped(log_ratio_B, adv_B, 0.2).tolist() == [True, False, False, True]


def test_gradients_agree_with_finite_differences() -> None:
    _, old, new, z = _drawn(3)
    adv_B = torch.tensor([1.0, -1.0, 2.0, 0.3, -0.7], dtype=torch.float64)

    def loss(prediction: Tensor) -> Tensor:
        ratio_B = log_ratio(prediction - old, z, torch.full((5,), 0.7, dtype=torch.float64))
        return log_hinge(ratio_B, adv_B, 0.05).sum() + clipped_surrogate(ratio_B, adv_B, 0.05).sum()

    assert torch.autograd.gradcheck(loss, new.clone().requires_grad_())


def test_proportionate_weights_of_flux() -> None:
    weight_T = proportionate_weight(FLUX)
    assert weight_T[[0, 8, 15]].tolist() == pytest.approx([0.29007, 0.66716, 2.22387], abs=5e-6)


@pytest.mark.parametrize("steps", [FLUX, SD3, flow_grpo_steps(shifted_grid(8), last_is_noisy=False)])
def test_the_total_weight_stays(steps: Steps) -> None:
    native_T = steps.weight_T[steps.weight_T.isfinite()]
    assert float(proportionate_weight(steps).sum()) == pytest.approx(float(native_T.sum()))
    assert float(constant_weight(steps)[0]) == pytest.approx(float(native_T.mean()))


def test_a_blend_of_lambda_makes_the_true_weight_uniform() -> None:
    """The mean that is sampled moves by b λ d, which in units of the noise is w* d at every step."""
    moved_T = -DDIM.b_T * lambda_T(DDIM) / DDIM.s_T
    torch.testing.assert_close(moved_T, torch.full_like(moved_T, 0.5168997049), atol=1e-6, rtol=0)


def test_proportionate_weights_need_times() -> None:
    with pytest.raises(InvalidInputError, match="need a flow"):
        proportionate_weight(DDIM)


def test_a_difference_of_densities_in_half_precision_loses_what_the_closed_form_keeps() -> None:
    """Why there is a closed form: with a clip range of 1e-4 rounding alone would decide."""
    x, old, _, z = (tensor.half() for tensor in _drawn(5))
    new = (old.float() + 1e-3 * torch.ones_like(old).float()).half()
    d = (new - old).double()
    exact_B = -(0.5 * d * z.double() + 0.5 * (0.5 * d).square()).flatten(1).mean(1)
    closed_B = log_ratio(new.float() - old.float(), z.float(), torch.full((5,), 0.5))
    a, b, s = (torch.tensor(number).half() for number in (1.0, -0.15, 0.3))  # w = 0.5
    following = a * x + b * old + s * z
    halves = [(-0.5 * ((following - a * x - b * f) / s).square()).flatten(1).mean(1) for f in (new, old)]
    assert float((closed_B - exact_B).abs().max()) < 1e-6
    assert float((halves[0].double() - halves[1].double() - exact_B).abs().max()) > 1e-4


def test_constants_of_a_normal_density() -> None:
    zero = torch.zeros(1, 1, 1, 1)
    assert logp_mean_B(zero, zero, torch.tensor(1.0)).item() == pytest.approx(-0.5 * math.log(2 * math.pi))
