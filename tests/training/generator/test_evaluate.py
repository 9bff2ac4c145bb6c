"""What the quality report says, on cases whose answer is known."""

import numpy as np
import pytest

from indexer.encoders.builtin import unit
from rerank.generate.builtin.latents import to_bytes
from tests.support.tiny_generator import tiny_config
from training.config import read_config
from training.generator.config import RECIPE, GeneratorConfig
from training.generator.data import composite, hold_out
from training.generator.evaluate import Judge, Memory, background_of, cases


class FakeJudge(Judge):
    """Features are the mean colours: enough to tell one plain picture from another."""

    def __init__(self, concepts: list[str], gallery_CF: np.ndarray) -> None:
        self.concepts, self.gallery_CF = concepts, gallery_CF

    def look(self, pictures: object) -> np.ndarray:
        return unit(np.array([p.mean(axis=(0, 1)) + 1e-3 for p in pictures]))  # type: ignore[attr-defined]


def test_a_rank_counts_the_concepts_that_fit_better() -> None:
    judge = FakeJudge(["a", "b", "c"], np.eye(3, dtype=np.float32))
    feature_NF = np.array([[0.9, 0.3, 0.1], [0.9, 0.3, 0.1], [0.1, 0.2, 0.9]], np.float32)
    assert judge.ranks(feature_NF, ["a", "c", "b"]).tolist() == [0, 2, 1]


@pytest.mark.parametrize("name", ["white", "black", "pink", "dark blue"])
def test_the_background_is_read_from_the_border(name: str) -> None:
    config = read_config(GeneratorConfig, RECIPE)
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[2:-2, 2:-2] = [200, 30, 30, 255]
    pixels = to_bytes(composite(drawing, config.data.backgrounds[name]))
    pixels[0, :9] = [0, 255, 0]  # a few wrong ones do not matter
    assert background_of(config.data, pixels) == name


def test_cases_ask_for_what_they_say() -> None:
    config = read_config(GeneratorConfig, RECIPE)
    held = hold_out(config)
    blank = np.zeros((1, 1, 4), np.uint8)
    drawings = {(concept, style): blank for concept in config.concepts for style in config.data.styles}
    known = list(config.concepts)[5:]
    found = cases(config, drawings, known, seed=0)
    assert all(prompt.concept in known for prompts in found.values() for prompt in prompts)
    assert not {(p.concept, p.style) for p in found["trained"]} & held.styles
    assert {(p.concept, p.style) for p in found["held-out style"]} == {
        p for p in held.styles if p[0] in known
    }
    for prompt in found["held-out background"]:
        assert (prompt.concept, prompt.background) in held.backgrounds
        assert (prompt.concept, prompt.style) not in held.styles
        assert prompt.background in prompt.text
    assert [p.text for p in found["words alone"]] == [config.concepts[c][0] for c in known]
    assert found == cases(config, drawings, known, seed=0)


def test_a_copy_has_no_distance_to_its_original() -> None:
    config = tiny_config()
    held = hold_out(config).styles
    pairs = [(c, s) for c in config.concepts for s in config.data.styles if (c, s) not in held][:2]
    red, blue = (np.full((16, 16, 4), colour, np.uint8) for colour in ([200, 0, 0, 255], [0, 0, 200, 255]))
    drawings = dict(zip(pairs, (red, blue), strict=True))
    prompt = cases(config, drawings, [pairs[0][0]], seed=0)["words alone"][0]
    judge = FakeJudge([], np.zeros((0, 3)))
    memory = Memory(config, judge, drawings)
    copied = memory.nearest([prompt], [red[:, :, :3]])
    assert copied.feature == pytest.approx(0, abs=1e-6)
    assert copied.pixel == 0
    moved = red[:, :, :3].copy()
    moved[:, :, 0] -= 30
    assert memory.nearest([prompt], [moved]).pixel == pytest.approx(30 / np.sqrt(3), rel=1e-5)
