"""Is a run better than what is in service? The pictures that users would get, from both, on equal terms.

The same prompts, none of which was trained on, and the same seeds, drawn by the generators that serve them.
Differences are paired by picture; intervals resample prompts, since the pictures of one prompt are alike.

Dimension key   P prompts, R seeds, N = P R pictures, F features
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from indexer.disk.files import replace_text
from indexer.errors import InvalidInputError
from indexer.imaging.contact_sheet import contact_sheet
from indexer.imaging.enlarge import enlarge, to_png
from rerank.diversity import embedding_kernel, vendi_score
from rerank.generate.request import GenerationRequest, Generator
from training.bootstrap import bootstrap
from training.policy_gradient.evaluation import Pictures, RewardSet, frechet, spread

COMPARISON = "comparison.json"
SHEET = "comparison.png"
SHOWN = 16  # pairs of a sheet
TILE_PX = 96
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Sides:
    """`against` is in service, `tuned` wants to be. `run` is the id that `kallos generator use` gives it."""

    run: str
    against: Generator
    tuned: Generator


def compare(
    folder: Path,
    sides: Sides,
    prompts: Sequence[str],
    seeds: Sequence[int],
    reward_set: RewardSet,
    on_picture: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write comparison.json and comparison.png into the run's folder; returns what the former says.

    Raises InvalidInputError: no reward is held out; nothing would tell a better picture from a gamed one.
    """
    if not reward_set.held_out:
        raise InvalidInputError(f"{folder}: its configuration has no [[held_out]] reward to judge it by")
    asked = [prompt for prompt in prompts for _ in seeds]
    before, after = (
        _draw(generator, prompts, seeds, on_picture) for generator in (sides.against, sides.tuned)
    )
    rewards = {"reward": reward_set.reward, **reward_set.held_out}
    figures = {
        name: _figures(reward.card.name, reward.score(before, asked), reward.score(after, asked), len(seeds))
        for name, reward in rewards.items()
    }
    base_NF, tuned_NF = reward_set.features(before), reward_set.features(after)
    first, *others = reward_set.held_out
    found = {
        "format": 1,
        "run": sides.run,
        "against": sides.against.model_id,
        "reward": figures["reward"],
        "held_out": figures[first],
        "also_held_out": [figures[name] for name in others],
        "diversity": {
            "base": vendi_score(embedding_kernel(base_NF)),
            "tuned": vendi_score(embedding_kernel(tuned_NF)),
        },
        "drift": frechet(tuned_NF, base_NF) / spread(base_NF),
        "prompts": len(prompts),
        "seeds": list(seeds),
        "sheet": SHEET,
    }
    (folder / SHEET).write_bytes(_sheet(before, after, asked, len(seeds)))
    replace_text(folder / COMPARISON, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def _draw(
    generator: Generator, prompts: Sequence[str], seeds: Sequence[int], on_picture: Callable[[], None]
) -> Pictures:
    pictures = []
    for prompt in prompts:
        for seed in seeds:
            pictures.append(generator.generate(GenerationRequest(prompt, seed)).pixels)
            on_picture()
    return pictures


def _figures(
    name: str, before_N: Float64[ndarray, " n"], after_N: Float64[ndarray, " n"], seeds: int
) -> dict[str, object]:
    by_prompt_P = (after_N - before_N).reshape(-1, seeds).mean(axis=1)
    difference = bootstrap(by_prompt_P, RESAMPLES, np.random.default_rng(0))
    return {
        "name": name,
        "base": float(before_N.mean()),
        "tuned": float(after_N.mean()),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "n": len(before_N),
    }


def _sheet(before: Pictures, after: Pictures, asked: Sequence[str], seeds: int) -> bytes:
    """Pairs: before and after, the first seed of prompts from the whole set."""
    firsts = range(0, len(asked), seeds)
    chosen = firsts[:: max(1, len(firsts) // SHOWN)][:SHOWN]
    tiles = [
        (to_png(enlarge(pixels, TILE_PX)), label)
        for number in chosen
        for pixels, label in ((before[number], asked[number]), (after[number], "after"))
    ]
    return contact_sheet(tiles, columns=8, tile_px=TILE_PX)
