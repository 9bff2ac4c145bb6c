"""The files and commands of the builtin encoders' recipe, small: what is written is what was learned."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from indexer.encoders.builtin import FOLDER, TEXT_DIM, BuiltinEncoder, SentenceModel, unit
from indexer.sources.captioned import Captioned
from tests.support.files import encoded, noise
from training.encoder import fit, layers, make
from training.encoder.axes import Spoil, differences
from training.encoder.cli import encoder_app
from training.encoder.recipe import BUILTIN_2
from training.encoder.spoil import KINDS, harmed

pytestmark = pytest.mark.slow

CLASSES = 1000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of eight, and class meanings that need no tables."""
    rng = np.random.default_rng(0)
    meaning_CT = unit(rng.standard_normal((CLASSES, TEXT_DIM)).astype(np.float32))
    monkeypatch.setattr(layers, "BATCH", 8)
    monkeypatch.setattr(fit, "class_meanings", lambda sentences: (meaning_CT, ["a thing"]))


def captioned(folder: Path, words: list[str]) -> list[Captioned]:
    folder.mkdir()
    pictures = [Captioned(folder / f"{i}.png", (word, f"the {word}")) for i, word in enumerate(words)]
    for i, picture in enumerate(pictures):
        picture.path.write_bytes(encoded(noise(len(folder.name) + 100 * i, (64, 48))))
    return pictures


@pytest.mark.usefixtures("small")
def test_the_file_holds_the_head_and_axes_that_were_judged_on_held_out_photographs(tmp_path: Path) -> None:
    drawings = captioned(tmp_path / "drawings", ["baby", "boy", "woman", "older man", "car", "tree"])
    photographs = captioned(tmp_path / "photographs", ["cat", "dog", "lake", "moon"])
    held = captioned(tmp_path / "held", ["fox", "owl"])
    for name in ("backbone.onnx", "tokenizer.json"):
        shutil.copyfile(FOLDER / name, tmp_path / name)
    recipe = replace(BUILTIN_2, n_hidden=16, n_crops=1, steps=3)
    figures = make.make(recipe, drawings, photographs, held, tmp_path)
    assert {f"aesthetics: photographs, {kind}" for kind in KINDS} <= set(figures)
    assert {"recency_visual: drawings, faded", "age: emoji, age"} <= set(figures)

    encoder = BuiltinEncoder("builtin-2", threads=1, folder=tmp_path)
    head = encoder._head
    assert head.hidden_KH.shape[0] == 16
    assert float(head.meaning_weight) == 1.0
    said = [c for p in (*drawings, *photographs) for c in p.captions] + ["a thing"]
    expected_T = SentenceModel(FOLDER, 1).run(said).mean(axis=0)
    np.testing.assert_allclose(head.text_mean_T, expected_T, atol=1e-4)  # nothing of what is held out
    axis = encoder.axes()["aesthetics"]
    right = {
        kind: np.mean(difference_ND @ axis.direction_D > 0)
        for kind, difference_ND in differences(
            held, {kind: _spoil(kind) for kind in KINDS}, lambda p: encoder.encode_images(p), seed=1
        ).items()
    }
    for kind, share in right.items():
        assert figures[f"aesthetics: photographs, {kind}"] == pytest.approx(share)
        assert f"{kind} {share:.0%}" in axis.card.partition("photographs (")[2]


def _spoil(kind: str) -> Spoil:
    return lambda picture, rng: harmed(picture, kind, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_harm_of_each_kind_does_what_its_name_says(kind: str) -> None:
    ramp = np.linspace(60, 250, 96)[None, :, None] + 30 * ((np.mgrid[:64, :96][0] // 4 % 2)[:, :, None] - 0.5)
    picture = np.broadcast_to(ramp.clip(0, 255), (64, 96, 3)).astype(np.uint8)
    spoilt = harmed(picture, kind, np.random.default_rng(1)).astype(float)
    assert spoilt.shape == picture.shape
    before, after = picture.astype(float), spoilt
    steps_before, steps_after = (np.abs(np.diff(rows, axis=0)).mean() for rows in (before, after))
    if kind == "darkness":
        assert after.mean() < 0.85 * before.mean()
    elif kind == "noise":
        assert steps_after > steps_before
    elif kind == "blur":
        assert steps_after < 0.5 * steps_before
    else:
        assert np.abs(after - before).mean() > 1


@pytest.mark.parametrize(
    ("split", "arguments", "message"),
    [
        ("train", [], "expected --photos, --stamps or both"),
        ("train", ["--photos", "photos"], "no photograph has the split 'dev'"),
        ("train", ["--photos", "nowhere"], "has no captioned picture"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "nowhere"):
        Path(folder).mkdir()
    Image.new("RGB", (8, 8)).save("photos/a.png")
    Path("photos/captions.jsonl").write_text(json.dumps({"file": "a.png", "captions": ["a"], "split": split}))
    emoji = Path("material/emoji-datasource-16.0.0/package/emoji.json")
    emoji.parent.mkdir(parents=True)
    emoji.write_text("[]")
    ran = CliRunner().invoke(encoder_app, ["evaluate", "--folder", "material", *arguments])
    assert ran.exit_code != 0
    assert message in str(ran.exception)
