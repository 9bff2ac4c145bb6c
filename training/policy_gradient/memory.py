"""How much GPU memory a run of a published model needs, before anything is loaded.

    most = what stays + the largest of (prompts being read, a gradient being taken, pictures being decoded)

Weights are counted on the published architecture; what a gradient keeps is counted by `policies.shapes`. Not
counted: the rewards' own networks, the CUDA context and the allocator's gaps, about 1 to 2 GB together.
"""

from dataclasses import dataclass

from training.policies.shapes import (
    count_parameters,
    count_trained,
    decoding_bytes,
    kept_for_gradient,
    latent_numbers,
    told_numbers,
)
from training.policy_gradient.config import PolicyGradientConfig

FLOAT = 4  # bytes
GB = 1e9
DENOISERS = ("unet", "transformer")


@dataclass(frozen=True, slots=True)
class Line:
    """`when` is "always", or the phase that needs it."""

    what: str
    bytes: int
    when: str = "always"


@dataclass(frozen=True, slots=True)
class Estimate:
    lines: tuple[Line, ...]

    @property
    def most(self) -> int:
        phases = {line.when for line in self.lines} - {"always"}
        return self._of("always") + max(self._of(phase) for phase in phases)

    def table(self) -> str:
        """One line a row, in GB of 10⁹ bytes."""
        rows = [(line.what, line.bytes, line.when) for line in self.lines]
        rows.append(("most at once", self.most, ""))
        width = max(len(what) for what, _, _ in rows)
        return "\n".join(
            f"{what:<{width}}  {size / GB:7.2f} GB  {when}".rstrip() for what, size, when in rows
        )

    def _of(self, when: str) -> int:
        return sum(line.bytes for line in self.lines if line.when == when)


def estimate(config: PolicyGradientConfig, algorithm: str, family: str, *, processes: int = 1) -> Estimate:
    """Of each of `processes` GPUs that share an epoch's pictures.

    Args:
        config: Of the run; its `side_px` has to say a side.
        algorithm: Which of its algorithms.
        family: Of the model: `sd15`, `sdxl`, `sd3` or `flux`.
        processes: How many GPUs.

    Raises InvalidInputError: no such family or algorithm.
    """
    half = config.policy.options.precision == "bfloat16"
    size = FLOAT // 2 if half else FLOAT
    is_whole = config.policy.adapter.rank == 0
    parameters = count_parameters(family)
    network = sum(parameters[name] for name in DENOISERS if name in parameters)
    texts = size * sum(number for name, number in parameters.items() if name.startswith("text_encoder"))
    autoencoder = size * parameters["vae"]
    trained = FLOAT * count_trained(family, config.policy.adapter)
    rests = config.policy.options.rests
    return Estimate(
        (
            Line("network, frozen", 0 if is_whole else size * network),
            Line("trained weights", trained),
            Line("gradient, and three of its vectors for the profile over steps", 4 * trained),
            Line("AdamW's two moments", 2 * trained),
            Line("base model's and averaged copies of the trained weights", 2 * trained),
            Line("trajectories and prompts of an epoch", _epoch_bytes(config, algorithm, family, processes)),
            Line("text encoders", texts, "prompts" if rests else "always"),
            Line("autoencoder", autoencoder, "decoding" if rests else "always"),
            Line("a gradient's activations", _activation_bytes(config, family), "gradient"),
            Line(
                "autoencoder's activations",
                decoding_bytes(family, config.policy.options.side_px, half=half),
                "decoding",
            ),
        )
    )


def _activation_bytes(config: PolicyGradientConfig, family: str) -> int:
    return kept_for_gradient(
        family,
        config.policy.options.side_px,
        config.policy.adapter,
        rows=config.training.rows * _sides(config, family),
        half=config.policy.options.precision == "bfloat16",
        checkpointing=config.policy.options.checkpointing,
    ).most


def _epoch_bytes(config: PolicyGradientConfig, algorithm: str, family: str, processes: int) -> int:
    """The noise, the prediction and x of every step, one x more, and where needed the base's prediction."""
    chosen = config.algorithm(algorithm)
    has_reference = chosen.kl > 0 or chosen.weights == "uniform-lambda"
    tensors = config.sampler.steps * (4 if has_reference else 3) + 1
    latents = FLOAT * tensors * latent_numbers(family, config.policy.options.side_px)
    told = (
        _sides(config, family)
        * told_numbers(family)
        * (2 if config.policy.options.precision == "bfloat16" else 4)
    )
    pictures = -(-config.training.prompts * config.training.group // processes)
    return pictures * (latents + told)


def _sides(config: PolicyGradientConfig, family: str) -> int:
    """Guidance predicts each picture twice; FLUX.1 is told its guidance."""
    return 2 if config.policy.options.guidance > 1 and family != "flux" else 1
