"""Does the generator draw what it is told, as many different things as it should, and only copies?

Judge: the backbone of the builtin encoder, which the generator never saw. A picture is recognised when its
features are closest to those of the concept it was asked for, among all concepts, each the mean of drawings
by two vendors (Twemoji, EmojiTwo) that nothing was trained on. The same judge looks at real drawings of the
same (concept, style) on the same background: what it makes of those is the most that could be asked for.

Dimension key   N pictures, C concepts, F features, V vendors, S side in pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import ImageColor

from indexer.encoders.builtin import FOLDER, Backbone, BuiltinEncoder, unit
from indexer.errors import InvalidInputError
from rerank.diversity import embedding_kernel, vendi_score
from rerank.generate.builtin.generator import BuiltinGenerator
from rerank.generate.builtin.latents import to_bytes
from rerank.generate.request import GenerationRequest
from training.generator.config import DataConfig, GeneratorConfig
from training.generator.data import Prompt, caption, composite, hold_out, picture
from training.generator.materials import OTHER_VENDORS, Drawing, draw, icon_set
from training.generator.prepare import drawings_of

GALLERY_BACKGROUNDS = 3  # each vendor's drawing is shown on so many, and the mean is taken
SEEDS_A_PROMPT = 8  # for the diversity of one prompt's pictures
PROMPTS_FOR_SEEDS = 24
TRAINED_PROMPTS = 240
BORDER_PX = 2  # the drawings' margin: nothing but background

Drawings = dict[tuple[str, str], Drawing]
Rows = Float32[ndarray, "n f"]


@dataclass(frozen=True, slots=True)
class Found:
    """Percent of `pictures`; `background` of those whose border is nearest to the colour asked for."""

    pictures: int
    top_1: float
    top_5: float
    background: float


@dataclass(frozen=True, slots=True)
class Case:
    """One way of asking: what was made, and the real drawings of the same."""

    made: Found
    real: Found


@dataclass(frozen=True, slots=True)
class Nearest:
    """Medians over pictures of the distance to the closest training picture on the same background."""

    feature: float  # 1 − cosine of centred features
    pixel: float  # root mean square of colours in 0..255


@dataclass(frozen=True, slots=True)
class Report:
    concepts: int
    cases: dict[str, Case]
    vendi_of_concepts: dict[str, float]  # one picture a concept: made, and real drawings
    vendi_of_seeds: dict[str, float]  # SEEDS_A_PROMPT pictures of one prompt without a style; the real styles
    nearest: dict[str, Nearest]


class Judge:
    """Pictures → unit features, centred on those of the vendors' drawings."""

    def __init__(self, config: GeneratorConfig, material: Path) -> None:
        self._prepare = BuiltinEncoder().prepare
        self._backbone = Backbone(FOLDER, None)
        data = config.data
        papers = list(data.backgrounds.values())[:GALLERY_BACKGROUNDS]
        sets = [
            draw(icon_set(material, name), list(config.concepts), data.side_px, data.margin_px)
            for name in OTHER_VENDORS
        ]
        self.concepts = [concept for concept in config.concepts if any(concept in drawn for drawn in sets)]
        shown = [
            (concept, to_bytes(composite(drawn[concept], paper)))
            for drawn in sets
            for concept in self.concepts
            if concept in drawn
            for paper in papers
        ]
        feature_NF = self._features([pixels for _, pixels in shown])
        self._mean_F = feature_NF.mean(axis=0)
        centred_NF = unit(feature_NF - self._mean_F)
        owner_N = np.array([self.concepts.index(concept) for concept, _ in shown])
        self.gallery_CF = unit(
            np.stack([centred_NF[owner_N == i].mean(axis=0) for i in range(len(self.concepts))])
        )

    def look(self, pictures: Sequence[UInt8[ndarray, "s s 3"]]) -> Rows:
        return unit(self._features(pictures) - self._mean_F)

    def _features(self, pictures: Sequence[UInt8[ndarray, "s s 3"]]) -> Rows:
        found = [
            np.sqrt(np.maximum(self._backbone.run([self._prepare(p) for p in pictures[i : i + 64]])[0], 0))
            for i in range(0, len(pictures), 64)
        ]
        return np.concatenate(found)

    def ranks(self, feature_NF: Rows, concepts: Sequence[str]) -> ndarray:
        """For each picture the number of concepts that fit it better than the one in `concepts`."""
        score_NC = feature_NF @ self.gallery_CF.T
        own_N = np.array([self.concepts.index(concept) for concept in concepts])
        return np.asarray((score_NC > score_NC[np.arange(len(own_N)), own_N][:, None]).sum(axis=1))


def evaluate(
    config: GeneratorConfig, material: Path, generator: BuiltinGenerator, *, seed: int = 0
) -> Report:
    drawings = drawings_of(config, material)
    judge = Judge(config, material)
    asked = cases(config, drawings, judge.concepts, seed)
    made = {name: make(generator, prompts, seed) for name, prompts in asked.items()}
    real = {
        name: [to_bytes(picture(config.data, drawings, prompt)) for prompt in prompts]
        for name, prompts in asked.items()
    }
    found = {
        name: Case(
            recognised(judge, config.data, asked[name], made[name]),
            recognised(judge, config.data, asked[name], real[name]),
        )
        for name in asked
    }
    seeds_made, seeds_real = _over_seeds(
        config, generator, judge, drawings, asked["words alone"][:PROMPTS_FOR_SEEDS]
    )
    memory = Memory(config, judge, drawings)
    return Report(
        concepts=len(judge.concepts),
        cases=found,
        vendi_of_concepts={
            "made": _vendi(judge.look(made["words alone"])),
            "real": _vendi(judge.look(real["words alone"])),
        },
        vendi_of_seeds={"made": seeds_made, "real": seeds_real},
        nearest={
            "made, words alone": memory.nearest(asked["words alone"], made["words alone"]),
            "made, held-out style": memory.nearest(asked["held-out style"], made["held-out style"]),
            "real, held-out style": memory.nearest(asked["held-out style"], real["held-out style"]),
        },
    )


def cases(
    config: GeneratorConfig, drawings: Drawings, known: Sequence[str], seed: int
) -> dict[str, list[Prompt]]:
    """The prompts of each case; every concept of them is in `known`."""
    held, data = hold_out(config), config.data
    rng = np.random.default_rng((seed, 4))
    pairs = [pair for pair in drawings if pair[0] in known]
    trained = [pair for pair in pairs if pair not in held.styles]

    def ask(concept: str, style: str, background: str | None, *, name_style: bool = True) -> Prompt:
        text = caption(config.concepts[concept][0], style if name_style else None, background, 0)
        return Prompt(concept, style, background or data.plain_background, text)

    def shown_background(concept: str) -> str:
        allowed = [b for b in data.backgrounds if (concept, b) not in held.backgrounds]
        return str(rng.choice(allowed))

    chosen = [trained[i] for i in rng.permutation(len(trained))[:TRAINED_PROMPTS]]
    style_of = dict(trained)
    return {
        "trained": [ask(c, s, shown_background(c)) for c, s in chosen],
        "held-out style": [ask(c, s, None) for c, s in pairs if (c, s) in held.styles],
        "held-out background": [ask(c, style_of[c], b) for c, b in sorted(held.backgrounds) if c in style_of],
        "words alone": [ask(c, s, None, name_style=False) for c, s in style_of.items()],
    }


def make(generator: BuiltinGenerator, prompts: Sequence[Prompt], seed: int) -> list[UInt8[ndarray, "s s 3"]]:
    return [
        generator.generate(GenerationRequest(prompt.text, seed=seed + i)).pixels
        for i, prompt in enumerate(prompts)
    ]


def recognised(
    judge: Judge, data: DataConfig, prompts: Sequence[Prompt], pictures: Sequence[UInt8[ndarray, "s s 3"]]
) -> Found:
    if not prompts:
        raise InvalidInputError("no prompts: the configuration holds nothing of this kind out")
    rank_N = judge.ranks(judge.look(pictures), [prompt.concept for prompt in prompts])
    right = [background_of(data, p) == prompt.background for p, prompt in zip(pictures, prompts, strict=True)]
    shares = [100 * float(np.mean(hits)) for hits in (rank_N < 1, rank_N < 5, right)]
    return Found(len(prompts), *shares)


def background_of(data: DataConfig, pixels_SS3: UInt8[ndarray, "s s 3"]) -> str:
    """The named background that the border is closest to."""
    edge = np.ones(pixels_SS3.shape[:2], bool)
    edge[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    colour_3 = np.median(pixels_SS3[edge].astype(np.float32), axis=0)
    distance = {
        name: float(np.linalg.norm(colour_3 - np.array(ImageColor.getrgb(value), np.float32)))
        for name, value in data.backgrounds.items()
    }
    return min(distance, key=distance.__getitem__)


class Memory:
    """The trained drawings, on every background as the judge sees them; each is looked at once."""

    def __init__(self, config: GeneratorConfig, judge: Judge, drawings: Drawings) -> None:
        held = hold_out(config).styles
        self._trained = [drawing for pair, drawing in drawings.items() if pair not in held]
        self._colours, self._judge = config.data.backgrounds, judge
        self._seen: dict[str, tuple[Rows, Float32[ndarray, "n p"]]] = {}

    def nearest(self, prompts: Sequence[Prompt], pictures: Sequence[UInt8[ndarray, "s s 3"]]) -> Nearest:
        feature_NF = self._judge.look(pictures)
        feature, pixel = np.zeros(len(prompts)), np.zeros(len(prompts))
        for i, prompt in enumerate(prompts):
            known_MF, flat_MP = self._on(prompt.background)
            feature[i] = 1 - (known_MF @ feature_NF[i]).max()
            difference_MP = flat_MP - pictures[i].reshape(-1).astype(np.float32)
            pixel[i] = np.sqrt(np.square(difference_MP).mean(axis=1)).min()
        return Nearest(float(np.median(feature)), float(np.median(pixel)))

    def _on(self, background: str) -> tuple[Rows, Float32[ndarray, "n p"]]:
        if background not in self._seen:
            shown = [to_bytes(composite(drawing, self._colours[background])) for drawing in self._trained]
            flat_MP = np.stack(shown).reshape(len(shown), -1).astype(np.float32)
            self._seen[background] = self._judge.look(shown), flat_MP
        return self._seen[background]


def _over_seeds(
    config: GeneratorConfig,
    generator: BuiltinGenerator,
    judge: Judge,
    drawings: Drawings,
    prompts: Sequence[Prompt],
) -> tuple[float, float]:
    """Mean Vendi score of SEEDS_A_PROMPT pictures of one prompt, and of the concept's real drawings."""
    made, real = [], []
    for prompt in prompts:
        made.append(_vendi(judge.look(make(generator, [prompt] * SEEDS_A_PROMPT, 0))))
        own = [
            to_bytes(composite(drawing, config.data.backgrounds[prompt.background]))
            for (concept, _), drawing in drawings.items()
            if concept == prompt.concept
        ]
        real.append(_vendi(judge.look(own)))
    return float(np.mean(made)), float(np.mean(real))


def _vendi(feature_NF: Rows) -> float:
    return vendi_score(embedding_kernel(feature_NF))
