"""Captioned pictures: concept × style × background, some pairs held out.

A held-out (concept, style) pair is never shown; nor is a held-out (concept, background) pair, in any style.
Each part of such a pair is shown with other partners, so the pairs measure composition.

Dimension key   N drawings, M captioned pictures, S side in pixels, P numbers of a patch, K latent channels
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from PIL import ImageColor

from rerank.generate.builtin.latents import PatchCodec, patches
from training.generator.config import DataConfig, GeneratorConfig, LatentsConfig
from training.generator.materials import Drawing

COMMONEST_WORD = 0.6  # share of captions that use a concept's first word
STYLE_NAMED = 0.7
BACKGROUND_NAMED = 0.6
ENOUGH_PATCHES = 60_000  # for the principal components
VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked for; `text` says it in words."""

    concept: str
    style: str
    background: str
    text: str


@dataclass(frozen=True, slots=True)
class HeldOut:
    styles: frozenset[tuple[str, str]]  # (concept, style)
    backgrounds: frozenset[tuple[str, str]]  # (concept, background)


def hold_out(config: GeneratorConfig) -> HeldOut:
    """At most one style and one background a concept; the plain background is always shown."""
    rng = np.random.default_rng((config.seed, 1))
    data, concepts = config.data, list(config.concepts)
    styles, backgrounds = list(data.styles), [b for b in data.backgrounds if b != data.plain_background]

    def pairs(options: Sequence[str], of_each: int) -> frozenset[tuple[str, str]]:
        n = min(len(concepts), round(data.held_out_pairs * len(concepts) * of_each))
        chosen = rng.permutation(len(concepts))[:n]
        return frozenset((concepts[i], options[int(rng.integers(len(options)))]) for i in chosen)

    return HeldOut(pairs(styles, len(styles)), pairs(backgrounds, len(backgrounds)))


def caption(word: str, style: str | None, background: str | None, form: int) -> str:
    """One of a few ways to say it; `form` is any number."""
    article = "" if word.endswith("s") else "an " if word[0] in "aeiou" else "a "
    subject = (word, f"{article}{word}", f"a picture of {article}{word}")[form % 3]
    if style is not None and form % 2:
        subject = f"a {style} drawing of {article}{word}"
    elif style is not None:
        subject = f"{subject}, {style} style"
    return subject if background is None else f"{subject}, on a {background} background"


def prompts_of(config: GeneratorConfig, concept: str, style: str, held: HeldOut) -> Iterator[Prompt]:
    """The captions that the drawing of `concept` in `style` is trained with."""
    data = config.data
    key = [config.seed, 2, list(config.concepts).index(concept), list(data.styles).index(style)]
    rng = np.random.default_rng(key)
    words = config.concepts[concept]
    allowed = [b for b in data.backgrounds if (concept, b) not in held.backgrounds]
    for _ in range(data.captions_per_picture):
        word = words[0] if rng.random() < COMMONEST_WORD else words[rng.integers(len(words))]
        named = str(rng.choice(allowed)) if rng.random() < BACKGROUND_NAMED else None
        text = caption(word, style if rng.random() < STYLE_NAMED else None, named, int(rng.integers(6)))
        yield Prompt(concept, style, named or data.plain_background, text)


def training_prompts(config: GeneratorConfig, drawings: dict[tuple[str, str], Drawing]) -> list[Prompt]:
    held = hold_out(config)
    return [
        prompt
        for concept, style in drawings
        if (concept, style) not in held.styles
        for prompt in prompts_of(config, concept, style, held)
    ]


def composite(drawing: Drawing, colour: str) -> Float32[ndarray, "s s 3"]:
    """Over one colour, in [-1, 1]. The drawing's colours are premultiplied by its alpha."""
    paper_3 = np.array(ImageColor.getrgb(colour), np.float32)
    alpha_SS1 = drawing[:, :, 3:].astype(np.float32) / 255
    return (drawing[:, :, :3] + (1 - alpha_SS1) * paper_3) / 127.5 - 1


def picture(
    data: DataConfig, drawings: dict[tuple[str, str], Drawing], prompt: Prompt
) -> Float32[ndarray, "s s 3"]:
    return composite(drawings[prompt.concept, prompt.style], data.backgrounds[prompt.background])


def fit_codec(
    config: LatentsConfig, pixel_NSS3: Float32[ndarray, "n s s 3"], sigma_data: float
) -> PatchCodec:
    """Principal components of patches; the latents' root mean square over `pixel_NSS3` is `sigma_data`."""
    patch_RP = patches(pixel_NSS3, config.patch_px).reshape(-1, 3 * config.patch_px**2)
    chosen = np.random.default_rng(0).permutation(len(patch_RP))[
        :ENOUGH_PATCHES
    ]  # a stride would pick columns
    patch_RP = patch_RP[chosen]
    mean_P = patch_RP.mean(axis=0)
    centred_RP = (patch_RP - mean_P).astype(np.float64)
    variance_P, vector_PP = np.linalg.eigh(centred_RP.T @ centred_RP / len(centred_RP))
    variance_K = np.maximum(variance_P[::-1][: config.channels], VARIANCE_FLOOR)
    component_KP = vector_PP[:, ::-1][:, : config.channels].T
    component_KP = component_KP * np.sign(
        component_KP.sum(axis=1, keepdims=True)
    )  # eigh leaves the sign open
    scale_K = variance_K ** (config.whitening / 2)
    scale_K = scale_K * np.sqrt(np.mean(variance_K / scale_K**2)) / sigma_data
    return PatchCodec(
        config.patch_px,
        mean_P.astype(np.float32),
        component_KP.astype(np.float32),
        scale_K.astype(np.float32),
    )
