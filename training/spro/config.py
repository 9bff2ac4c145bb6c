"""What configs/spro_*.toml may say. Defaults are the paper's where it states them."""

from dataclasses import dataclass, field
from typing import Literal

from indexer.errors import InvalidInputError
from training.policies.options import Adapter, PolicyOptions
from training.prompts.prompt_set import PromptsConfig
from training.rewards.config import RewardConfig
from training.spro.guidance import Objective

WeakGain = Literal["below-mean-gain", "below-mean-base", "none"]


@dataclass(frozen=True, slots=True)
class GuiderConfig:
    """`kind` "text": `model` is a `local:` one, which sees nothing. "vision": a folder or a cached name."""

    kind: Literal["text", "vision"]
    model: str
    adapter: Adapter
    most_tokens: int = 400
    batch: int = 16
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, slots=True)
class PictureConfig:
    """What draws, and how. `draws` pictures of a prompt are made, each from a noise of its own.

    The guidance of `options` is drawn with; fine-tuning mixes none in.
    """

    generator: str = "builtin"
    options: PolicyOptions = field(default_factory=PolicyOptions)
    steps: int = 50
    shift: float = 1.0
    draws: int = 1
    batch: int = 32

    def __post_init__(self) -> None:
        _at_least("picture", 1, draws=self.draws, batch=self.batch)
        _at_least("picture", 2, steps=self.steps)


@dataclass(frozen=True, slots=True)
class RoundsConfig:
    """`captions` of the prompt set are asked for, each `repeats` times at each temperature.

    `fidelity` is the smallest cosine between the winner's picture and the plain caption's; what it means
    depends on the encoder (the paper's 0.75 is CLIP's). `carry` hands a winner to the next round as its
    caption. Rounds end at `most`, or when the candidates' mean reward rises by less than `least_rise`.
    """

    most: int
    captions: int
    temperatures: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2)
    repeats: int = 2
    tries: int = 2
    fidelity: float = 0.75
    weak_gain: WeakGain = "below-mean-gain"
    carry: bool = True
    least_rise: float = 0.0

    def __post_init__(self) -> None:
        _at_least("rounds", 1, most=self.most, captions=self.captions, repeats=self.repeats, tries=self.tries)
        if min(self.temperatures) < 0 or len(self.temperatures) * self.repeats < 2:
            raise InvalidInputError(
                f"rounds: temperatures {self.temperatures}, repeats {self.repeats}: expected 0 or more each, "
                "and two candidates or more"
            )


@dataclass(frozen=True, slots=True)
class PreferenceConfig:
    """DPO. `batch` pairs make one step, `rows` answers go through the model at once."""

    beta: float = 0.1
    learning_rate: float = 1e-6
    epochs: int = 2
    batch: int = 8
    rows: int = 2
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _at_least("preference", 1, epochs=self.epochs, batch=self.batch, rows=self.rows)
        if self.beta <= 0 or self.learning_rate <= 0:
            raise InvalidInputError(
                f"preference: beta {self.beta}, learning_rate {self.learning_rate}: expected above 0"
            )


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """SPRO-Image: denoising on (plain caption, winner)."""

    adapter: Adapter
    learning_rate: float = 1e-6
    epochs: int = 50
    batch: int = 8
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _at_least("image", 1, epochs=self.epochs, batch=self.batch)


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """`captions` held-out ones x `seeds` of noise; the Guider answers once a caption."""

    captions: int
    seeds: int = 3
    temperature: float = 0.6
    tries: int = 3
    resamples: int = 2000
    shown: int = 6

    def __post_init__(self) -> None:
        _at_least("evaluation", 1, seeds=self.seeds, tries=self.tries, resamples=self.resamples)
        _at_least("evaluation", 2, captions=self.captions)


@dataclass(frozen=True, slots=True)
class SproConfig:
    objective: Objective
    guider: GuiderConfig
    picture: PictureConfig
    rounds: RoundsConfig
    preference: PreferenceConfig
    image: ImageConfig
    evaluation: EvaluationConfig
    reward: RewardConfig
    held_out: tuple[RewardConfig, ...]
    prompts: PromptsConfig = field(default_factory=PromptsConfig)


def _at_least(table: str, least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise InvalidInputError(f"{table}: {name} is {value}: expected at least {least}")
