"""What configs/*.toml of a policy-gradient run may say. Defaults are the papers', where they agree."""

from dataclasses import dataclass, field
from typing import Literal

from indexer.errors import InvalidInputError
from training.policies.options import Adapter, PolicyOptions
from training.prompts.prompt_set import PromptsConfig
from training.rewards.config import RewardConfig

Objective = Literal["ppo-clip", "log-hinge"]
Weights = Literal["native", "constant", "uniform-sigma", "uniform-lambda", "proportionate"]
Advantage = Literal["buffer", "group", "global"]


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """`parameterization` "diffusion" samples a flow-matching model as one (`policies.as_diffusion`)."""

    name: str = "builtin"
    parameterization: Literal["native", "diffusion"] = "native"
    options: PolicyOptions = field(default_factory=PolicyOptions)
    adapter: Adapter = field(default_factory=Adapter)


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """`noise` is η of DDIM and of DanceGRPO's SDE, a of Flow-GRPO's; `shift` is of flow matching's times.

    `last_is_trained` false leaves the last step out of the objective, `trained_share` draws so much of the
    rest anew each epoch. `shared_start`: pictures of one prompt begin with the same noise.
    """

    kind: Literal["ddim", "dance-grpo", "flow-grpo"]
    steps: int
    noise: float
    shift: float = 1.0
    last_is_noisy: bool = True
    last_is_trained: bool = False
    trained_share: float = 1.0
    shared_start: bool = False

    def __post_init__(self) -> None:
        if self.steps < 2 or self.noise <= 0 or not 0 < self.trained_share <= 1:
            raise InvalidInputError(
                f"sampler: steps {self.steps}, noise {self.noise}, trained_share {self.trained_share}: "
                "expected 2 or more, above 0, above 0 to 1"
            )
        if self.last_is_trained and not self.last_is_noisy:
            raise InvalidInputError("sampler: a last step without noise cannot be trained")


@dataclass(frozen=True, slots=True)
class AlgorithmConfig:
    """One row of a comparison: what is minimised and how fast.

    ppo-clip with native weights is DDPO (advantage "buffer"), DanceGRPO ("group") or Flow-GRPO ("global",
    `kl`); log-hinge with other weights is PCPO; ppo-clip with them is PCPO's ratio form; log-hinge with
    native ones shows what the hinge alone does.
    """

    objective: Objective
    weights: Weights
    advantage: Advantage
    learning_rate: float
    kl: float = 0.0

    def __post_init__(self) -> None:
        if self.weights == "uniform-lambda" and self.objective == "ppo-clip":
            raise InvalidInputError(
                "uniform-lambda weights with ppo-clip: expected log-hinge, or other weights"
            )
        if self.learning_rate <= 0 or self.kl < 0:
            raise InvalidInputError(
                f"learning_rate {self.learning_rate}, kl {self.kl}: expected above 0, and 0 or more"
            )


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One epoch draws `prompts` x `group` pictures, once, and makes `updates` steps of the optimiser from
    them.

    `rows` pictures go through the network at once. `ema` 0 keeps no moving average.
    """

    epochs: int
    prompts: int
    group: int
    updates: int = 2
    rows: int = 32
    clip_eps: float = 1e-4
    advantage_clip: float = 5.0
    clip_norm: float = 1.0
    weight_decay: float = 1e-4
    ema: float = 0.0
    checkpoint_every: int = 5

    def __post_init__(self) -> None:
        for name in ("epochs", "prompts", "group", "updates", "rows", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"training: {name} is {getattr(self, name)}: expected at least 1")
        if self.updates > self.prompts * self.group:
            raise InvalidInputError(
                f"training: {self.updates} updates of {self.prompts * self.group} pictures: expected fewer"
            )


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """Every `every` epochs `prompts` held-out prompts x `seeds` are drawn without noise in the steps."""

    every: int = 5
    prompts: int = 32
    seeds: int = 2


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """Bounds whose crossing stops a run; see `guard`. What is left out is not watched.

    `held_out_fall` says for a held-out reward how much it may fall below the base model's, in its own unit;
    `diversity` is a share of the base model's; `drift` a Fréchet distance as `evaluation` reports it.
    """

    held_out_fall: dict[str, float] = field(default_factory=dict)
    diversity: float = 0.0
    drift: float = float("inf")


@dataclass(frozen=True, slots=True)
class ComparisonConfig:
    """Rewards whose first reaching is reported; chosen before the runs that are compared."""

    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyGradientConfig:
    """`held_out` are rewards that are watched, never trained on."""

    seed: int
    policy: PolicyConfig
    reward: RewardConfig
    sampler: SamplerConfig
    training: TrainingConfig
    algorithms: dict[str, AlgorithmConfig]
    held_out: tuple[RewardConfig, ...] = ()
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    evaluation: EvaluationConfig = EvaluationConfig()
    guard: GuardConfig = field(default_factory=GuardConfig)
    comparison: ComparisonConfig = ComparisonConfig()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.guard.held_out_fall) - {reward.name for reward in self.held_out})
        if unknown:
            raise InvalidInputError(f"guard: held_out_fall names {', '.join(unknown)}, which is not held out")

    def algorithm(self, name: str) -> AlgorithmConfig:
        if name not in self.algorithms:
            raise InvalidInputError(
                f"{name!r} is no algorithm of this configuration: expected {', '.join(self.algorithms)}"
            )
        return self.algorithms[name]
