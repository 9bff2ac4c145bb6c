"""From a configuration to the parts of a run: the only place where they are chosen."""

from collections.abc import Sequence
from pathlib import Path

from indexer.errors import InvalidInputError
from training.diffusion.ddim import scaled_linear
from training.policies.as_diffusion import AsDiffusion
from training.policies.policy import Policy
from training.policies.registry import load_policy, tiny_name
from training.policy_gradient.config import PolicyGradientConfig
from training.policy_gradient.evaluation import RewardSet
from training.policy_gradient.run import Parts
from training.prompts.prompt_set import load_prompts
from training.rewards.config import RewardConfig
from training.rewards.held_out import declare
from training.rewards.registry import RewardLoader

# Whose features say how diverse pictures are, and how far from the base model's. Not the newest: a run that
# goes on, the bounds of the guard and SPRO's fidelity of 0.75 were measured with these.
METRIC_ENCODER = "builtin-1"


def load_parts(
    config: PolicyGradientConfig, *, threads: int | None = None, cache: Path | None = None, tiny: bool = False
) -> Parts:
    """Read weights, rewards and prompts, from this machine alone.

    Args:
        config: What to read.
        threads: Of the rewards' encoders on a CPU; None lets the library choose.
        cache: The Hugging Face cache folder, None the usual one.
        tiny: Random weights of the same architecture, a millionth of its size: a dry run.

    Raises:
        InvalidInputError: Parts do not fit each other, or a held-out reward is also trained on.
        UnavailableError: Something is not on this machine.
    """
    chosen = config.policy
    name = tiny_name(chosen.name, cache=cache) if tiny else chosen.name
    found = load_policy(name, chosen.adapter, chosen.options, seed=config.seed, cache=cache)
    policy: Policy = found
    if chosen.parameterization == "diffusion":
        policy = AsDiffusion(found, scaled_linear())
    loader = RewardLoader(device=chosen.options.device, threads=threads, cache=cache)
    reward_set = reward_set_of(config.reward, config.held_out, loader)
    prompts = load_prompts(config.prompts)
    return Parts(policy, chosen.name, found.part, prompts, reward_set)


def reward_set_of(reward: RewardConfig, held_out: Sequence[RewardConfig], loader: RewardLoader) -> RewardSet:
    """Raises InvalidInputError: a held-out reward is also trained on, or named twice."""
    declared = declare(reward, held_out, loader)
    names = [config.name for config in held_out]
    if len(set(names)) != len(names):
        raise InvalidInputError(f"held_out: {', '.join(names)}: expected each name once")
    return RewardSet(
        declared.trained,
        dict(zip(names, declared.held_out, strict=True)),
        loader.encoder(METRIC_ENCODER)[1].images,
    )
