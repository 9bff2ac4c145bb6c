"""DPO: its value where nothing was learned yet, its gradient by hand, and its tails."""

import math

import pytest
import torch

from training.objectives.dpo import loss_of, margin

BETA = 0.3


def pairs(*rows: float) -> list[torch.Tensor]:
    return [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in rows]


def test_a_policy_that_is_its_reference_pays_log_two() -> None:
    w, ref_w, other_l, ref_l = pairs(-40.0, -40.0, -7.0, -7.0)
    assert loss_of(margin(w, other_l, ref_w, ref_l, BETA)).item() == pytest.approx(math.log(2))


def test_the_margin_counts_only_what_differs_from_the_reference() -> None:
    w, lost, ref_w, ref_l = pairs(-3.0, -9.0, -4.0, -6.0)
    # The winner gained 1, the loser lost 3.
    assert margin(w, lost, ref_w, ref_l, BETA).item() == pytest.approx(BETA * (1 + 3))


def test_the_gradient_is_beta_times_the_chance_of_being_wrong() -> None:
    w, lost, ref_w, ref_l = pairs(-3.0, -9.0, -4.0, -6.0)
    loss_of(margin(w, lost, ref_w, ref_l, BETA)).sum().backward()
    wrong = 1 / (1 + math.exp(BETA * 4))  # σ(−m)
    assert w.grad is not None
    assert lost.grad is not None
    assert w.grad.item() == pytest.approx(-BETA * wrong)
    assert lost.grad.item() == pytest.approx(BETA * wrong)


def test_the_gradient_agrees_with_finite_differences() -> None:
    rng = torch.Generator().manual_seed(0)
    given = [(-20 * torch.rand(5, generator=rng, dtype=torch.float64)).requires_grad_() for _ in range(4)]
    assert torch.autograd.gradcheck(lambda w, lost, a, b: loss_of(margin(w, lost, a, b, BETA)), given)


def test_long_answers_do_not_overflow() -> None:
    w, lost, ref_w, ref_l = (torch.tensor([value]) for value in (-1e4, -1.0, -1.0, -1e4))
    loss_B = loss_of(margin(w, lost, ref_w, ref_l, 1.0))
    assert loss_B.item() == pytest.approx(2 * (1e4 - 1))  # −log σ(m) → −m
    assert loss_of(margin(lost, w, ref_l, ref_w, 1.0)).item() == 0.0
