"""What the recipe of the builtin generator may say: RECIPE, beside this file."""

from dataclasses import dataclass
from pathlib import Path

from indexer.errors import InvalidInputError

RECIPE = Path(__file__).parent / "builtin_generator.toml"


@dataclass(frozen=True, slots=True)
class DataConfig:
    side_px: int
    margin_px: int
    captions_per_picture: int
    held_out_pairs: float
    plain_background: str
    styles: dict[str, str]
    backgrounds: dict[str, str]

    def __post_init__(self) -> None:
        if self.plain_background not in self.backgrounds:
            raise InvalidInputError(f"plain_background {self.plain_background!r} is none of the backgrounds")
        if not 0 <= self.held_out_pairs < 0.25:
            raise InvalidInputError(f"held_out_pairs is {self.held_out_pairs}: expected 0 to below 0.25")


@dataclass(frozen=True, slots=True)
class LatentsConfig:
    patch_px: int
    channels: int
    whitening: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    channels: tuple[int, ...]
    down_blocks: tuple[str, ...]
    up_blocks: tuple[str, ...]
    layers_per_block: int
    heads: int
    groups: int
    tokens: int
    sigma_data: float


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    steps: int
    processes: int
    batch: int
    learning_rate: float
    warmup_steps: int
    decay_share: float
    weight_decay: float
    ema: float
    clip_norm: float
    drop_text: float
    time_mean: float
    time_std: float
    bfloat16: bool
    checkpoint_every: int

    def __post_init__(self) -> None:
        for name in ("steps", "processes", "batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}: expected at least 1")


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    name: str
    seed: int
    data: DataConfig
    latents: LatentsConfig
    model: ModelConfig
    training: TrainingConfig
    sampling: SamplingConfig
    concepts: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.data.side_px % self.latents.patch_px:
            raise InvalidInputError(
                f"patch_px {self.latents.patch_px} does not divide side_px {self.data.side_px}"
            )
