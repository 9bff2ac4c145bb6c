"""From a configuration to what an epoch needs: the sampler's table, each step's weight, the loss of a row.

Dimension key   T steps, B rows, K H W latents
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from indexer.errors import InvalidInputError
from training.diffusion.ddim import ddim_steps, leading, scaled_linear, uniform_sigma, with_sigma
from training.diffusion.flow_sde import dance_grpo_steps, euler_steps, flow_grpo_steps, shifted_grid
from training.diffusion.steps import Steps, Table, logp_mean_B
from training.objectives import flow_grpo, pcpo, ppo_clip
from training.policies.policy import Kind
from training.policy_gradient.config import AlgorithmConfig, SamplerConfig, Weights


@dataclass(frozen=True, slots=True)
class Row:
    """One step of some pictures: what was sampled, and what the policy predicts now."""

    step: int
    x_BKHW: Float[Tensor, "b k h w"]
    next_BKHW: Float[Tensor, "b k h w"]
    noise_BKHW: Float[Tensor, "b k h w"]
    old_BKHW: Float[Tensor, "b k h w"]
    reference_BKHW: Float[Tensor, "b k h w"] | None
    prediction_BKHW: Float[Tensor, "b k h w"]


@dataclass(frozen=True, slots=True)
class Loss:
    """`loss_B` is to be averaged; `clipped_B` says which rows send no gradient."""

    loss_B: Float[Tensor, " b"]
    log_ratio_B: Float[Tensor, " b"]
    clipped_B: Bool[Tensor, " b"]


@dataclass(frozen=True, slots=True)
class StepWeighting:
    """A sampler and what each of its steps weighs. `weight_T` has 0 where a step has no log-probability."""

    steps: Steps
    weight_T: Table
    algorithm: AlgorithmConfig

    @property
    def needs_reference(self) -> bool:
        return self.algorithm.kl > 0 or self.steps.blend_T is not None

    def loss(self, row: Row, adv_B: Float[Tensor, " b"], clip_eps: float) -> Loss:
        ratio, loss, is_clipped = _FORMS[self.algorithm.objective]
        log_ratio_B = ratio(self, row)
        loss_B = loss(log_ratio_B, adv_B, clip_eps)
        if self.algorithm.kl > 0:
            loss_B = loss_B + self.algorithm.kl * self._kl(row)
        return Loss(loss_B, log_ratio_B.detach(), is_clipped(log_ratio_B.detach(), adv_B, clip_eps))

    def _kl(self, row: Row) -> Float[Tensor, " b"]:
        assert row.reference_BKHW is not None, "needs_reference said so"
        mean, reference = (
            self.steps.mean(row.step, row.x_BKHW, f) for f in (row.prediction_BKHW, row.reference_BKHW)
        )
        sigma_B = self.steps.sigma_T[row.step].float().expand(len(row.x_BKHW)).to(row.x_BKHW.device)
        return flow_grpo.kl_to_reference(mean, reference, sigma_B)


def _closed_form(weighting: StepWeighting, row: Row) -> Float[Tensor, " b"]:
    weight_B = weighting.weight_T[row.step].float().expand(len(row.x_BKHW)).to(row.x_BKHW.device)
    return pcpo.log_ratio(row.prediction_BKHW - row.old_BKHW, row.noise_BKHW, weight_B)


def _of_densities(weighting: StepWeighting, row: Row) -> Float[Tensor, " b"]:
    """As DDPO computes it; with other than native weights PCPO's ratio form, ρ to the power w_PCPO / w."""
    std = weighting.steps.std(row.step, row.x_BKHW)
    now_B, old_B = (
        logp_mean_B(row.next_BKHW, weighting.steps.mean(row.step, row.x_BKHW, f), std)
        for f in (row.prediction_BKHW, row.old_BKHW)
    )
    power = weighting.weight_T[row.step] / weighting.steps.weight_T[row.step]
    return float(power) * (now_B - old_B)


Ratio = Callable[[StepWeighting, Row], Tensor]
Rowwise = Callable[[Tensor, Tensor, float], Tensor]
_FORMS: dict[str, tuple[Ratio, Rowwise, Rowwise]] = {
    "ppo-clip": (_of_densities, ppo_clip.clipped_surrogate, ppo_clip.is_clipped),
    "log-hinge": (_closed_form, pcpo.log_hinge, pcpo.is_clipped),
}


def step_weighting_of(sampler: SamplerConfig, algorithm: AlgorithmConfig, kind: Kind) -> StepWeighting:
    """Raises InvalidInputError: the sampler is not for that kind of model, or the weights for the sampler."""
    steps = _native(sampler, kind)
    if algorithm.weights == "uniform-sigma":
        if sampler.kind != "ddim":
            raise InvalidInputError(f"uniform-sigma weights are for ddim, not for {sampler.kind}")
        abar_S, time_T = scaled_linear(), leading(sampler.steps)
        weight_T = pcpo.constant_weight(steps)  # of the native table: the sampler's own stay close to it
        steps = with_sigma(abar_S, time_T, uniform_sigma(abar_S, time_T, eta=sampler.noise))
    else:
        weight_T = _WEIGHTS[algorithm.weights](steps)
    if algorithm.weights == "uniform-lambda":
        steps = replace(steps, blend_T=pcpo.lambda_T(steps))
    return StepWeighting(steps, torch.where(steps.s_T > 0, weight_T, 0.0), algorithm)


def noiseless_steps(sampler: SamplerConfig, kind: Kind) -> Steps:
    """The same times, to draw with: DDIM's η = 0, or the ODE."""
    if kind == "diffusion":
        return ddim_steps(scaled_linear(), leading(sampler.steps), eta=0.0)
    return euler_steps(shifted_grid(sampler.steps, sampler.shift))


def _native(sampler: SamplerConfig, kind: Kind) -> Steps:
    if (sampler.kind == "ddim") != (kind == "diffusion"):
        raise InvalidInputError(f"the sampler {sampler.kind} is not for a {kind} model")
    if sampler.kind == "ddim":
        return ddim_steps(scaled_linear(), leading(sampler.steps), sampler.noise)
    make = dance_grpo_steps if sampler.kind == "dance-grpo" else flow_grpo_steps
    return make(
        shifted_grid(sampler.steps, sampler.shift), sampler.noise, last_is_noisy=sampler.last_is_noisy
    )


_WEIGHTS: dict[Weights, Callable[[Steps], Table]] = {
    "native": lambda steps: steps.weight_T,
    "constant": pcpo.constant_weight,
    "uniform-lambda": pcpo.constant_weight,
    "proportionate": pcpo.proportionate_weight,
}
