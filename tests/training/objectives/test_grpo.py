"""What DanceGRPO and Flow-GRPO add to the clipped surrogate."""

import pytest
import torch

from training.objectives.dance_grpo import some_steps
from training.objectives.flow_grpo import kl_to_reference


def test_the_kl_of_normals_with_one_variance() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, reference = torch.randn(2, 3, 4, 2, 2, generator=rng, dtype=torch.float64).unbind()
    sigma_B = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    for row in range(3):
        p, q = (torch.distributions.Normal(m[row], sigma_B[row]) for m in (mean, reference))
        expected = torch.distributions.kl_divergence(p, q).mean()
        torch.testing.assert_close(kl_to_reference(mean, reference, sigma_B)[row], expected)


@pytest.mark.parametrize(("last", "share", "count"), [(15, 0.6, 9), (15, 1.0, 15), (3, 0.1, 1)])
def test_a_share_of_the_steps_is_drawn_without_the_last(last: int, share: float, count: int) -> None:
    drawn = [some_steps(last, share, torch.Generator().manual_seed(seed)).tolist() for seed in range(200)]
    assert all(steps == sorted(set(steps)) and len(steps) == count for steps in drawn)
    assert {step for steps in drawn for step in steps} == set(range(last))
