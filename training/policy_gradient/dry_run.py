"""A run in miniature, to see that a configuration fits together: random weights, two updates, on a CPU.

The sampler, the algorithm and the adapter are the configuration's own; the model is one of the same
architecture at a millionth of its size, and the reward is how colourful a picture is.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from training.policies.registry import load_policy, tiny_name
from training.policy_gradient.config import EvaluationConfig, GuardConfig, PolicyGradientConfig
from training.policy_gradient.evaluation import Pictures, RewardSet
from training.policy_gradient.processes import Processes
from training.policy_gradient.run import Outcome, Parts, Run
from training.prompts.prompt_set import Prompt, PromptSet
from training.rewards.config import RewardConfig
from training.rewards.registry import RewardLoader

PROMPTS = PromptSet(
    tuple(Prompt(words) for words in ("a red kite", "two boats at sea", "an old house", "a fox")),
    (Prompt("a bird in the snow"),),
    "dry run",
    "",
)


def miniature(config: PolicyGradientConfig) -> PolicyGradientConfig:
    """Raises UnknownModelError: the model's architecture is neither in a folder nor in a list."""
    groups = 2 if config.training.group > 1 else 4
    size = min(config.training.group, 2)
    return replace(
        config,
        policy=replace(
            config.policy,
            name=tiny_name(config.policy.name),
            options=replace(config.policy.options, device="cpu", precision="float32", side_px=0),
        ),
        reward=RewardConfig("colourfulness"),
        held_out=(),
        training=replace(
            config.training, epochs=1, prompts=groups, group=size, updates=2, rows=2, checkpoint_every=1
        ),
        evaluation=EvaluationConfig(every=1, prompts=1, seeds=2),
        guard=GuardConfig(),
    )


def dry_run(config: PolicyGradientConfig, algorithm: str, folder: Path) -> Outcome:
    """Train `miniature(config)` for one epoch of two updates; `folder` is a run's folder afterwards."""
    small = miniature(config)
    policy = load_policy(small.policy.name, small.policy.adapter, small.policy.options, seed=small.seed)
    reward_set = RewardSet(RewardLoader(device="cpu").load(small.reward), {}, _features)
    parts = Parts(policy, small.policy.name, policy.part, PROMPTS, reward_set)
    return Run(small, algorithm, parts, folder, Processes(cpu=True)).run()


def _features(pictures: Pictures) -> Float32[ndarray, "n f"]:
    """Unit rows: the pixels."""
    row_NF = np.stack([picture.ravel() for picture in pictures]).astype(np.float32) + 1
    return row_NF / np.linalg.norm(row_NF, axis=1, keepdims=True)
