"""A policy-gradient run that takes seconds: tiny generator, few pictures, a reward that is easy to raise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray

from tests.support.tiny_policy import LORA, tiny_policy
from training.diffusion.ddim import scaled_linear
from training.policies.as_diffusion import AsDiffusion
from training.policies.options import Adapter
from training.policies.policy import Policy
from training.policy_gradient.config import (
    AlgorithmConfig,
    EvaluationConfig,
    PolicyConfig,
    PolicyGradientConfig,
    SamplerConfig,
    TrainingConfig,
)
from training.policy_gradient.evaluation import RewardSet
from training.policy_gradient.processes import Processes
from training.policy_gradient.run import Parts, Run
from training.prompts.prompt_set import Prompt, PromptSet
from training.rewards.config import RewardConfig
from training.rewards.reward import RewardCard

Pictures = Sequence[UInt8[ndarray, "s s 3"]]

PROMPTS = PromptSet(
    tuple(map(Prompt, ["a red fox", "the moon", "a house", "an apple"])),
    tuple(map(Prompt, ["a blue car", "a tree"])),
    "toy",
    "",
)
FLOW = SamplerConfig("flow-grpo", steps=4, noise=0.7, last_is_noisy=False)
DDIM = SamplerConfig("ddim", steps=4, noise=1.0)
LONG_DDIM = SamplerConfig("ddim", steps=50, noise=1.0)  # with many fewer uniform-sigma has no root
LEARNING_RATE = 0.02

ALGORITHMS = {
    "ddpo": AlgorithmConfig("ppo-clip", "native", "buffer", LEARNING_RATE),
    "dance-grpo": AlgorithmConfig("ppo-clip", "native", "group", LEARNING_RATE),
    "flow-grpo": AlgorithmConfig("ppo-clip", "native", "global", LEARNING_RATE, kl=0.001),
    "log-hinge": AlgorithmConfig("log-hinge", "native", "group", LEARNING_RATE),
    "pcpo": AlgorithmConfig("log-hinge", "constant", "group", LEARNING_RATE),
    "pcpo-sigma": AlgorithmConfig("log-hinge", "uniform-sigma", "group", LEARNING_RATE),
    "pcpo-lambda": AlgorithmConfig("log-hinge", "uniform-lambda", "group", LEARNING_RATE),
    "pcpo-flow": AlgorithmConfig("log-hinge", "proportionate", "group", LEARNING_RATE),
    "pcpo-ratio": AlgorithmConfig("ppo-clip", "proportionate", "group", LEARNING_RATE),
}


@dataclass(frozen=True)
class Brightness:
    """The mean of all colours, in 0 to 1."""

    sign: float = 1.0
    card = RewardCard("brightness", 0, 1, needs_prompt=False, licence="Apache-2.0", source="mean")

    def score(self, pictures: Pictures, prompts: Sequence[str]) -> Float64[ndarray, " n"]:
        return np.array([self.sign * float(picture.mean()) / 255 for picture in pictures])


@dataclass(frozen=True)
class Flatness:
    """Can be gamed: best is one colour everywhere. Minus the standard deviation of the pixels, in 0 to 1."""

    card = RewardCard("flatness", -1, 0, needs_prompt=False, licence="Apache-2.0", source="deviation")

    def score(self, pictures: Pictures, prompts: Sequence[str]) -> Float64[ndarray, " n"]:
        return np.array([-float(picture.std()) / 255 for picture in pictures])


def pixels(pictures: Pictures) -> Float32[ndarray, "n f"]:
    """Unit rows: the deviations of a picture's pixels from their mean, with a small constant for flat
    ones.
    """
    row_NF = np.stack([picture.astype(np.float32).ravel() for picture in pictures])
    row_NF = np.concatenate(
        [row_NF - row_NF.mean(axis=1, keepdims=True), np.full((len(row_NF), 1), 30.0)], axis=1
    )
    return np.asarray(row_NF / np.linalg.norm(row_NF, axis=1, keepdims=True), np.float32)


def toy_policy(folder: Path, sampler: SamplerConfig, adapter: Adapter = LORA) -> Policy:
    policy = tiny_policy(folder, adapter=adapter)
    return AsDiffusion(policy, scaled_linear()) if sampler.kind == "ddim" else policy


def toy_config(sampler: SamplerConfig = FLOW, **training: Any) -> PolicyGradientConfig:  # noqa: ANN401  # what TrainingConfig takes
    return PolicyGradientConfig(
        seed=1,
        policy=PolicyConfig(adapter=LORA),
        reward=RewardConfig("jpeg"),  # `toy_run` takes others
        sampler=sampler,
        training=TrainingConfig(
            **({"epochs": 4, "prompts": 4, "group": 6, "rows": 24, "checkpoint_every": 1} | training)
        ),
        algorithms=ALGORITHMS,
        evaluation=EvaluationConfig(every=2, prompts=2, seeds=4),
    )


def toy_run(
    generator: Path,
    folder: Path,
    algorithm: str,
    config: PolicyGradientConfig,
    reward_set: RewardSet | None = None,
) -> Run:
    reward_set = reward_set or RewardSet(Brightness(), {"darkness": Brightness(-1)}, pixels)
    policy = toy_policy(generator, config.sampler, config.policy.adapter)
    parts = Parts(policy, "tiny", "unet", PROMPTS, reward_set)
    return Run(config, algorithm, parts, folder, Processes(cpu=True))
