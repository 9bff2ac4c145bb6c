"""Flow matching as a stochastic sampler, in the forms of DanceGRPO and Flow-GRPO.

For x_t = (1−t) x_0 + t n and v = dx/dt, an SDE with the marginals of the ODE steps by Δt = t − t' > 0:

    x' = x (1 − σ² Δt / 2t) − v (1 + σ² (1−t) / 2t) Δt + σ √Δt z

    DanceGRPO (arXiv:2505.07818)   σ = η, the same at every step
    Flow-GRPO (arXiv:2505.05470)   σ = a √(t / (1−t)), with t = 1 replaced by the grid's second time in 1 − t

so a = 1 − σ² Δt / 2t, b = −(1 + σ² (1−t) / 2t) Δt, s = σ √Δt, and the weight is
w = √Δt / σ (1 + (1−t) σ² / 2t) (Lee and Ye, arXiv:2509.25774, proposition 2).

Departures   The last step may be taken without noise (`last_is_noisy`): there is nothing left to remove the
             noise that it adds, and it has no log-probability then.

Dimension key   T steps
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from indexer.errors import InvalidInputError
from training.diffusion.steps import Steps, Table


def shifted_grid(n_steps: int, shift: float = 1.0) -> Float64[Tensor, " t1"]:
    """Times from 1 down to 0, one more than steps: t = shift u / (1 + (shift − 1) u) of even u.

    Raises InvalidInputError: fewer than 2 steps, or a shift that is not positive.
    """
    if n_steps < 2 or shift <= 0:
        raise InvalidInputError(f"{n_steps} steps, shift {shift}: expected 2 or more, and above 0")
    u = torch.linspace(1, 0, n_steps + 1, dtype=torch.float64)
    return shift * u / (1 + (shift - 1) * u)


def dance_grpo_steps(
    grid_T1: Float64[Tensor, " t1"], eta: float = 0.3, *, last_is_noisy: bool = True
) -> Steps:
    return _steps(grid_T1, torch.full_like(grid_T1[:-1], eta), last_is_noisy)


def flow_grpo_steps(grid_T1: Float64[Tensor, " t1"], a: float = 0.7, *, last_is_noisy: bool = True) -> Steps:
    t_T = grid_T1[:-1]
    below_one_T = torch.where(t_T == 1, grid_T1[1], t_T)
    return _steps(grid_T1, a * (t_T / (1 - below_one_T)).sqrt(), last_is_noisy)


def euler_steps(grid_T1: Float64[Tensor, " t1"]) -> Steps:
    """The ODE: no noise at any step. To draw with; a policy gradient has nothing to hold on to."""
    return _steps(grid_T1, torch.zeros_like(grid_T1[:-1]), last_is_noisy=True)


def _steps(grid_T1: Float64[Tensor, " t1"], sigma_T: Table, last_is_noisy: bool) -> Steps:
    t_T, dt_T = grid_T1[:-1], grid_T1[:-1] - grid_T1[1:]
    if not last_is_noisy:
        sigma_T = torch.cat([sigma_T[:-1], sigma_T.new_zeros(1)])
    spread_T = sigma_T**2 / (2 * t_T)
    return Steps(
        "flow",
        t_T,
        1 - spread_T * dt_T,
        -(1 + spread_T * (1 - t_T)) * dt_T,
        sigma_T * dt_T.sqrt(),
        sigma_T,
        dt_T,
    )
