"""Architectures whose diffusers pipelines Kallos runs, and published models of each worth naming.

`steps` and `guidance` are what the models' authors recommend for the plain ones; distilled ones ("turbo",
"schnell") want fewer, and say so on their pages. Parameters are in millions, of all parts together. Licences
are those on the models' own pages, which have the last word.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture.

    `patch` latents across make one token of the denoiser, `sample_size` latents its usual side where the
    folder does not say. `tokenizer` is the part that reads the longest prompt, `tokens` how long.
    """

    name: str
    title: str
    pipeline: str  # the class in diffusers
    denoiser: str  # the part that has most of the weights
    patch: int
    sample_size: int
    steps: int
    guidance: float
    tokenizers: tuple[str, ...]  # those that may read the prompt, the one that reads most of it first
    tokens: int
    takes_negative_prompt: bool = True


FAMILIES: tuple[Family, ...] = (
    Family(
        name="sd15",
        title="Stable Diffusion 1.x and 2.x",
        pipeline="StableDiffusionPipeline",
        denoiser="unet",
        patch=1,
        sample_size=64,
        steps=30,
        guidance=7.5,
        tokenizers=("tokenizer",),
        tokens=77,
    ),
    Family(
        name="sdxl",
        title="Stable Diffusion XL",
        pipeline="StableDiffusionXLPipeline",
        denoiser="unet",
        patch=1,
        sample_size=128,
        steps=30,
        guidance=5.0,
        tokenizers=("tokenizer_2", "tokenizer"),
        tokens=77,
    ),
    Family(
        name="sd3",
        title="Stable Diffusion 3 and 3.5",
        pipeline="StableDiffusion3Pipeline",
        denoiser="transformer",
        patch=2,
        sample_size=128,
        steps=28,
        guidance=4.5,
        tokenizers=("tokenizer_3", "tokenizer_2", "tokenizer"),
        tokens=256,
    ),
    Family(
        name="flux",
        title="FLUX.1",
        pipeline="FluxPipeline",
        denoiser="transformer",
        patch=2,
        sample_size=128,
        steps=28,
        guidance=3.5,
        tokenizers=("tokenizer_2", "tokenizer"),
        tokens=512,
        takes_negative_prompt=False,  # guidance is distilled into it: nothing is predicted a second time
    ),
)


def family_of(pipeline: str) -> Family | None:
    """The family whose pipeline class that is."""
    return next((family for family in FAMILIES if family.pipeline == pipeline), None)


@dataclass(frozen=True, slots=True)
class KnownGenerator:
    """One published model. `gated`: its licence is accepted on its page before it can be fetched."""

    repository: str
    family: str
    parameters_m: int
    licence: str
    note: str
    gated: bool = False

    @property
    def size_mb(self) -> int:
        """Megabytes of the weights at 16 bits each: an estimate from the parameters."""
        return 2 * self.parameters_m


STABILITY = "Stability AI Community License (free under 1 M USD of revenue a year)"

# From small to large.
KNOWN_GENERATORS: tuple[KnownGenerator, ...] = (
    KnownGenerator(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "sd15",
        1_370,
        "CreativeML Open RAIL-M",
        "512 px; has a safety checker; the most adapters",
    ),
    KnownGenerator(
        "stabilityai/sdxl-turbo",
        "sdxl",
        3_470,
        "Stability AI Non-Commercial Research Community License",
        "512 px; `steps=1` `guidance=0`",
    ),
    KnownGenerator(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "sdxl",
        3_470,
        "CreativeML Open RAIL++-M",
        "1024 px",
    ),
    KnownGenerator(
        "stabilityai/stable-diffusion-3.5-medium",
        "sd3",
        8_100,
        STABILITY,
        "1024 px; more than half of it is the text encoder T5-XXL",
        gated=True,
    ),
    KnownGenerator(
        "stabilityai/stable-diffusion-3.5-large",
        "sd3",
        13_700,
        STABILITY,
        "1024 px",
        gated=True,
    ),
    KnownGenerator(
        "black-forest-labs/FLUX.1-schnell",
        "flux",
        16_900,
        "Apache-2.0",
        "1024 px; `steps=4`",
        gated=True,
    ),
    KnownGenerator(
        "black-forest-labs/FLUX.1-dev",
        "flux",
        16_900,
        "FLUX.1 [dev] Non-Commercial License",
        "1024 px",
        gated=True,
    ),
)
