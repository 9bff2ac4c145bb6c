"""Contact sheets: what it draws, picked by nobody."""

from pathlib import Path

from indexer.imaging.contact_sheet import contact_sheet
from indexer.imaging.enlarge import enlarge, to_png
from rerank.generate.builtin.generator import BuiltinGenerator
from rerank.generate.builtin.latents import to_bytes
from training.generator.config import GeneratorConfig
from training.generator.data import Prompt, picture
from training.generator.evaluate import Drawings, make

TILE_PX = 96
COLUMNS = 12


def every_concept(config: GeneratorConfig, generator: BuiltinGenerator, seed: int) -> bytes:
    """One picture of each concept, asked for by its first word alone; PNG."""
    plain = config.data.plain_background
    prompts = [Prompt(concept, "", plain, words[0]) for concept, words in config.concepts.items()]
    made = make(generator, prompts, seed)
    tiles = [
        (to_png(enlarge(pixels, TILE_PX)), prompt.text) for pixels, prompt in zip(made, prompts, strict=True)
    ]
    return contact_sheet(tiles, columns=COLUMNS, tile_px=TILE_PX)


def held_out(
    config: GeneratorConfig, generator: BuiltinGenerator, drawings: Drawings, prompts: list[Prompt], seed: int
) -> bytes:
    """Pairs: what was made of a (concept, style) that was never shown, and the real drawing; PNG."""
    tiles: list[tuple[bytes, str]] = []
    for prompt, pixels in zip(prompts, make(generator, prompts, seed), strict=True):
        real = to_bytes(picture(config.data, drawings, prompt))
        words = config.concepts[prompt.concept][0]
        tiles.append((to_png(enlarge(pixels, TILE_PX)), words))
        tiles.append((to_png(enlarge(real, TILE_PX)), f"real, {prompt.style}"))
    return contact_sheet(tiles, columns=COLUMNS, tile_px=TILE_PX)


def save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
