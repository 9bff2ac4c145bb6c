"""What it was worth, on captions and noises that nothing was trained on; one row an arrangement.

    plain caption      the base model, as the caption stands
    untrained Guider   its prompts on the base model: how much is owed to rewriting alone
    round 1, 2, …      the trained Guider's prompts on the base model
    SPRO-Image         the tuned model, plain captions
    SPRO-MM            the tuned model, the last Guider's prompts

Every number is a mean over captions of means over noises; intervals resample captions.

Dimension key   N captions, R noises, X resamples, F features
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from rerank.diversity import embedding_kernel, vendi_score
from training.bootstrap import Mean, bootstrap
from training.policy_gradient.evaluation import RewardSet
from training.spro.ask import GuiderOutput, ask
from training.spro.guidance import Guider, Objective, Request
from training.spro.paint import Painter

PLAIN, UNTRAINED, IMAGE, MM = "plain caption", "untrained Guider", "SPRO-Image", "SPRO-MM"


@dataclass(frozen=True, slots=True)
class Row:
    """`gain` is the reward's paired difference to the plain caption, and so is `held_out_gain`.

    `fidelity` is the cosine with the plain caption's picture of the same noise, `diversity` the Vendi score
    of all pictures; `unanswered` captions were asked as they stand, because the Guider kept to no form.
    """

    name: str
    reward: Mean
    gain: Mean
    held_out: dict[str, Mean]
    held_out_gain: dict[str, Mean]
    fidelity: float
    diversity: float
    words: float
    unanswered: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """An arrangement's prompts and the latents of what it drew."""

    name: str
    prompts: tuple[str, ...]
    latent_NRKHW: Tensor
    unanswered: int = 0


@dataclass(frozen=True)
class EvaluationSuite:
    """`seeds` has a row of noises for each caption."""

    captions: Sequence[str]
    seeds: Sequence[Sequence[int]]
    reward_set: RewardSet
    resamples: int

    def rows(self, painter: Painter, arrangements: Sequence[Drawn]) -> list[Row]:
        """The first one is what the others are compared with."""
        scored = [self._scores(painter, drawn) for drawn in arrangements]
        return [
            self._row(drawn, scores, scored[0]) for drawn, scores in zip(arrangements, scored, strict=True)
        ]

    def _scores(self, painter: Painter, drawn: Drawn) -> "_Scores":
        pictures = painter.pictures(drawn.latent_NRKHW)
        asked = [caption for caption, row in zip(self.captions, self.seeds, strict=True) for _ in row]

        def by_caption(score_NR: Float64[ndarray, " nr"]) -> Float64[ndarray, " n"]:
            return score_NR.reshape(len(self.captions), -1).mean(axis=1)

        return _Scores(
            by_caption(self.reward_set.reward.score(pictures, asked)),
            {
                name: by_caption(reward.score(pictures, asked))
                for name, reward in self.reward_set.held_out.items()
            },
            self.reward_set.features(pictures),
        )

    def _row(self, drawn: Drawn, own: "_Scores", plain: "_Scores") -> Row:
        def mean(value_N: Float64[ndarray, " n"]) -> Mean:
            return bootstrap(value_N, self.resamples, np.random.default_rng(0))

        return Row(
            drawn.name,
            mean(own.reward_N),
            mean(own.reward_N - plain.reward_N),
            {name: mean(value_N) for name, value_N in own.held_out_N.items()},
            {name: mean(value_N - plain.held_out_N[name]) for name, value_N in own.held_out_N.items()},
            float((own.feature_F * plain.feature_F).sum(axis=1).mean()),
            vendi_score(embedding_kernel(own.feature_F)),
            float(np.mean([len(prompt.split()) for prompt in drawn.prompts])),
            drawn.unanswered,
        )


@dataclass(frozen=True, slots=True)
class _Scores:
    reward_N: Float64[ndarray, " n"]
    held_out_N: dict[str, Float64[ndarray, " n"]]
    feature_F: ndarray  # [N·R, F]


def guided(
    guider: Guider,
    captions: Sequence[str],
    pictures: Sequence[ndarray] | None,
    objective: Objective,
    temperature: float,
    tries: int,
    seed: Sequence[int],
) -> list[GuiderOutput]:
    """One answer a caption, as in use; `pictures` for a Guider that looks."""
    seen = [None] * len(captions) if pictures is None else pictures
    requests = [Request(caption, picture, objective) for caption, picture in zip(captions, seen, strict=True)]
    return ask(guider, requests, [temperature] * len(captions), tries, seed)


def prompts_of(told: Sequence[GuiderOutput], captions: Sequence[str]) -> tuple[str, ...]:
    """The caption itself where there is no answer; `Row.unanswered` counts these."""
    return tuple(
        caption if one.guidance is None else one.guidance.prompt
        for one, caption in zip(told, captions, strict=True)
    )
