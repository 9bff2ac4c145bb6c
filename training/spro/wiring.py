"""From a configuration to the parts of a run: the only place where they are chosen."""

from dataclasses import replace

import torch

from indexer.errors import InvalidInputError
from training.policies.builtin import BuiltinPolicy
from training.policies.options import Adapter
from training.policies.pipeline import PipelinePolicy
from training.policies.registry import load_policy
from training.policy_gradient.evaluation import RewardSet
from training.policy_gradient.wiring import reward_set_of
from training.prompts.prompt_set import PromptSet, load_prompts
from training.rewards.registry import RewardLoader
from training.spro.config import PictureConfig, SproConfig
from training.spro.paint import Painter
from training.spro.preference import TrainableGuider
from training.spro.text_guider import TextGuider
from training.spro.vision_guider import VisionGuider


def load_guider(config: SproConfig, seed: int) -> TrainableGuider:
    """Untrained: a LoRA changes nothing before its first step."""
    chosen = config.guider
    if chosen.kind == "vision":
        return VisionGuider(
            chosen.model,
            adapter=chosen.adapter,
            most_tokens=chosen.most_tokens,
            batch=chosen.batch,
            seed=seed,
            device=chosen.device,
            dtype=getattr(torch, chosen.precision),
        )
    if chosen.precision != "float32":
        raise InvalidInputError(f"guider: precision {chosen.precision}: expected float32 for a text model")
    return TextGuider(
        chosen.model,
        adapter=chosen.adapter,
        most_tokens=chosen.most_tokens,
        batch=chosen.batch,
        seed=seed,
        device=chosen.device,
    )


def load_generator(
    config: PictureConfig, adapter: Adapter | None, seed: int, *, guided: bool
) -> BuiltinPolicy | PipelinePolicy:
    """`guided` to draw with; to train, what the network predicts by itself is wanted."""
    options = config.options if guided else replace(config.options, guidance=1.0)
    return load_policy(config.generator, adapter, options, seed=seed)


def load_painter(config: PictureConfig) -> Painter:
    return Painter(load_generator(config, None, 0, guided=True), config)


def load_reward_set(config: SproConfig, threads: int | None) -> RewardSet:
    """Raises InvalidInputError: a held-out reward is also trained on."""
    loader = RewardLoader(device=config.picture.options.device, threads=threads)
    return reward_set_of(config.reward, config.held_out, loader)


def captions_of(config: SproConfig) -> tuple[list[str], list[str]]:
    """(to train on, held out), as many as are asked for, evenly from the whole set.

    Raises InvalidInputError: the set has fewer.
    """
    prompts: PromptSet = load_prompts(config.prompts)
    return (
        _evenly([prompt.text for prompt in prompts.train], config.rounds.captions, "train on"),
        _evenly([prompt.text for prompt in prompts.held_out], config.evaluation.captions, "hold out"),
    )


def _evenly(texts: list[str], count: int, what: str) -> list[str]:
    if len(texts) < count:
        raise InvalidInputError(f"{count} captions to {what}: the prompt set has {len(texts)}")
    return [texts[i * len(texts) // count] for i in range(count)]
