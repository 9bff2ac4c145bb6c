"""One epoch of policy-gradient training: draw, judge, compare, learn.

Everything random follows from (seed, epoch), so that an epoch can be repeated; pictures are drawn in parts of
`rows`, each with its own noise, so that several processes that share the parts draw the same pictures as one.

Dimension key   N pictures of an epoch, B pictures of a part, T steps, K H W latents
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from indexer.errors import ConflictError
from training.advantages import PromptBuffers, Rewards, global_std, group
from training.objectives.dance_grpo import some_steps
from training.policies.adapters import copy_of
from training.policies.policy import Policy
from training.policy_gradient.config import SamplerConfig, TrainingConfig
from training.policy_gradient.processes import Processes
from training.policy_gradient.step_weighting import Row, StepWeighting
from training.prompts.prompt_set import Prompt
from training.rewards.reward import Reward
from training.rollout import Trajectories, noise_of, roll_out

Indices = Int64[Tensor, " b"]

RATIO_TOLERANCE = 1e-6  # of log ρ before the first update


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """`clipped_T`: the share of each step's rows that send no gradient. `gradient_T`: the norm of each step's
    part of the first update's gradient, in the first process. NaN at steps that were not trained.
    """

    reward: float
    reward_std: float
    gradient_norm: float
    largest_log_ratio: float
    clipped_T: list[float]
    gradient_T: list[float]


@dataclass
class Trainer:
    """Owns what training changes: the policy's weights, the optimiser, the moving average, the buffers."""

    policy: Policy
    weighting: StepWeighting
    sampler: SamplerConfig
    config: TrainingConfig
    prompts: Sequence[Prompt]
    reward: Reward
    seed: int
    processes: Processes
    base: dict[str, Tensor] = field(init=False)
    average: dict[str, Tensor] = field(init=False)
    buffers: PromptBuffers = field(init=False, default_factory=PromptBuffers)
    optimizer: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        self.base = copy_of(self.policy.trainable())
        self.average = copy_of(self.policy.trainable())
        self.optimizer = torch.optim.AdamW(
            [weight for _, weight in self.policy.trainable()],
            self.weighting.algorithm.learning_rate,
            weight_decay=self.config.weight_decay,
        )

    def epoch(self, number: int) -> EpochRecord:
        """Draw pictures with the present weights, then learn from them once."""
        rng = np.random.default_rng((self.seed, number))
        # 1. Prompts of the epoch, `group` pictures of each, and the noise that each begins with.
        prompt_N = self._choose_prompts(rng)
        start_NKHW = noise_of(self._start_seeds(rng), self.policy.latent_KHW)
        # 2. Draw, in parts; each process its own.
        own, drawn = self._draw(prompt_N, start_NKHW, rng)
        # 3. Judge; compare with other pictures of the same prompt.
        reward_N = self._judge(own, drawn, prompt_N)
        limit = self.config.advantage_clip
        adv_N = torch.from_numpy(self._advantages(reward_N, prompt_N)).float().clamp(-limit, limit)
        # 4. Learn.
        learned = self._learn(own, drawn, adv_N, rng)
        return EpochRecord(float(reward_N.mean()), float(reward_N.std()), *learned)

    def _choose_prompts(self, rng: np.random.Generator) -> list[str]:
        """As often as their weights say; without repetition as long as there are enough."""
        weight_P = np.array([prompt.weight for prompt in self.prompts])
        count, many = self.config.prompts, len(self.prompts)
        chosen = rng.choice(many, count, replace=count > many, p=weight_P / weight_P.sum())
        return [self.prompts[number].text for number in np.repeat(chosen, self.config.group).tolist()]

    def _start_seeds(self, rng: np.random.Generator) -> list[int]:
        groups, size = self.config.prompts, self.config.group
        seeds = rng.integers(2**62, size=groups if self.sampler.shared_start else groups * size)
        return [int(seed) for seed in (np.repeat(seeds, size) if self.sampler.shared_start else seeds)]

    def _draw(
        self, prompt_N: Sequence[str], start_NKHW: Tensor, rng: np.random.Generator
    ) -> tuple[Indices, Trajectories]:
        """(which pictures this process drew, how)."""
        index_parts = torch.arange(len(prompt_N)).split(self.config.rows)
        seeds = rng.integers(2**62, size=len(index_parts))
        own = [number for number in range(len(index_parts)) if self.processes.owns(number)]
        drawn = [
            roll_out(
                self.policy,
                self.policy.encode([prompt_N[i] for i in index_parts[number]]),
                start_NKHW[index_parts[number]],
                self.weighting.steps,
                torch.Generator().manual_seed(int(seeds[number])),
                base=self.base if self.weighting.needs_reference else None,
            )
            for number in own
        ]
        return torch.cat([index_parts[number] for number in own]), Trajectories.joined(drawn)

    def _judge(self, own_B: Indices, drawn: Trajectories, prompt_N: Sequence[str]) -> Rewards:
        """Every process judges its own pictures and is told the rewards of all."""
        reward_N = np.zeros(len(prompt_N))
        pictures = self.policy.decode(drawn.x_T1BKHW[-1])
        reward_N[own_B] = self.reward.score(pictures, [prompt_N[i] for i in own_B])
        return self.processes.total(torch.from_numpy(reward_N)).numpy()

    def _advantages(self, reward_N: Rewards, prompt_N: Sequence[str]) -> Rewards:
        if self.weighting.algorithm.advantage == "buffer":
            return self.buffers.advantages(reward_N, prompt_N)
        compare = group if self.weighting.algorithm.advantage == "group" else global_std
        return compare(reward_N, prompt_N)

    def _learn(
        self, own_B: Indices, drawn: Trajectories, adv_N: Tensor, rng: np.random.Generator
    ) -> tuple[float, float, list[float], list[float]]:
        """(mean gradient norm, largest |log ρ|, share without gradient by step, gradient norm by step)."""
        last = len(drawn.steps) - (0 if self.sampler.last_is_trained else 1)
        step_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        trained = some_steps(last, self.sampler.trained_share, step_rng).tolist()
        flat_T = torch.full((len(drawn.steps),), float("nan"))
        flat_T[trained] = 0
        gradient_T = torch.full_like(flat_T, float("nan"))
        norms, largest = [], 0.0
        for update, chosen in enumerate(np.array_split(rng.permutation(len(adv_N)), self.config.updates)):
            rows = torch.from_numpy(np.flatnonzero(np.isin(own_B, chosen)))
            self.optimizer.zero_grad()
            for step in trained:
                before = self._gradient() if update == 0 else None
                found = self._accumulate(drawn, step, rows, adv_N[own_B], len(chosen) * len(trained))
                flat_T[step] += found.flat
                largest = max(largest, found.log_ratio)
                if before is not None:
                    _require_same(found.log_ratio, step)
                    gradient_T[step] = (self._gradient() - before).norm()
            norms.append(self._update())
        flat_T = self.processes.total(flat_T) / len(adv_N)
        return float(np.mean(norms)), largest, flat_T.tolist(), gradient_T.tolist()

    def _accumulate(
        self, drawn: Trajectories, step: int, rows: Indices, adv_B: Tensor, terms: int
    ) -> "_Found":
        """Add the gradient of one step of some pictures; the loss is a mean over `terms` rows in all."""
        flat, largest = 0, 0.0
        for index in rows.split(self.config.rows):
            row = self._row(drawn, step, index)
            loss = self.weighting.loss(row, adv_B[index].to(row.x_BKHW.device), self.config.clip_eps)
            (loss.loss_B.sum() / terms).backward()
            flat += int(loss.clipped_B.sum())
            largest = max(largest, float(loss.log_ratio_B.abs().max()))
        return _Found(flat, largest)

    def _row(self, drawn: Trajectories, step: int, index: Indices) -> Row:
        device = self.policy.device
        x, following, noise, old = (
            tensor[index].to(device)
            for tensor in (
                drawn.x_T1BKHW[step],
                drawn.x_T1BKHW[step + 1],
                drawn.noise_TBKHW[step],
                drawn.prediction_TBKHW[step],
            )
        )
        reference = drawn.reference_TBKHW
        t_B = drawn.steps.time_T[step].float().expand(len(index)).to(device)
        prediction = self.policy.predict(x, t_B, drawn.known.rows(index.to(device)))
        return Row(
            step,
            x,
            following,
            noise,
            old,
            None if reference is None else reference[step][index].to(device),
            prediction,
        )

    def _gradient(self) -> Tensor:
        """Of this process, as one vector."""
        return torch.cat(
            [
                torch.zeros_like(weight).flatten() if weight.grad is None else weight.grad.flatten().clone()
                for _, weight in self.policy.trainable()
            ]
        )

    def _update(self) -> float:
        weights = [weight for _, weight in self.policy.trainable()]
        self.processes.add_gradients(weights)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, self.config.clip_norm))
        if not np.isfinite(norm):
            raise ConflictError(
                f"the gradient's norm is {norm}: expected a finite one; a smaller learning_rate helps"
            )
        self.optimizer.step()
        with torch.no_grad():
            for name, weight in self.policy.trainable():
                self.average[name].lerp_(weight, 1 - self.config.ema)
        return norm


@dataclass(frozen=True, slots=True)
class _Found:
    flat: int
    log_ratio: float


def _require_same(log_ratio: float, step: int) -> None:
    """Before the first update the policy is the one that drew."""
    if log_ratio > RATIO_TOLERANCE:
        raise ConflictError(
            f"before the first update the log-ratio of step {step} is {log_ratio:.2g}: expected at most "
            f"{RATIO_TOLERANCE:g}. Something makes the same rows give other numbers: dropout, or a number "
            "format whose results depend on the batch"
        )
