"""From a generator's folder to what is known about it: figures, card, contact sheets. Needs no torch."""

import json
from pathlib import Path

from safetensors import safe_open

from rerank.generate.builtin.folder import WEIGHTS
from rerank.generate.builtin.generator import BuiltinGenerator
from training.generator.card import card
from training.generator.config import GeneratorConfig
from training.generator.evaluate import Report, cases, evaluate
from training.generator.materials import icon_set
from training.generator.prepare import drawings_of
from training.generator.sheets import every_concept, held_out, save

RECORD = "training.json"
SHEET_PAIRS = 30


def report(config: GeneratorConfig, material: Path, weights: Path, *, seed: int = 0) -> Report:
    """Measure `weights` and write its card, README.md, beside it."""
    found = evaluate(config, material, BuiltinGenerator(folder=weights), seed=seed)
    record = json.loads((weights / RECORD).read_text("utf-8"))
    sets = {name: icon_set(material, name) for name in config.data.styles.values()}
    text = card(config, found, sets, parameters=_parameters(weights), cpu_s=record["cpu_s"])
    (weights / "README.md").write_text(text, "utf-8")
    return found


def draw_sheets(
    config: GeneratorConfig, material: Path, weights: Path, folder: Path, *, seed: int = 0
) -> None:
    """generator.png: every concept; generator-held-out.png: pairs that were never shown, beside the real."""
    generator = BuiltinGenerator(folder=weights)
    drawings = drawings_of(config, material)
    prompts = cases(config, drawings, list(config.concepts), seed)["held-out style"]
    prompts = prompts[:SHEET_PAIRS]
    save(folder / "generator.png", every_concept(config, generator, seed))
    save(folder / "generator-held-out.png", held_out(config, generator, drawings, prompts, seed))


def _parameters(weights: Path) -> int:
    with safe_open(weights / "unet" / WEIGHTS, "numpy") as file:
        return sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118  # not a dict
