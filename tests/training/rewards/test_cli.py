import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from indexer.errors import InvalidInputError, UnreadableImageError
from tests.support.files import encoded, halves, noise
from training.cli import COMMANDS, make_app
from training.rewards.cards import CARDS

app = make_app(COMMANDS)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["rewards", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_list_names_every_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = json.loads(run("list", "--json"))
    assert [row["name"] for row in rows] == [card.name for card in CARDS]
    table = run("list")
    for row in rows:
        assert row["name"] in table
        assert row["weakness"]


def test_scores_are_of_the_pictures_at_their_own_size(tmp_path: Path) -> None:
    """Wider than what the indexer works with."""
    images = {"halves.png": halves(size=(900, 600)), "noise.png": noise(2, (900, 600))}
    expected = {}
    for name, image in images.items():
        (tmp_path / name).write_bytes(encoded(image))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=95)
        expected[str(tmp_path / name)] = -len(out.getvalue()) / 1000
    document = json.loads(run("score", "jpeg", *expected, "--json"))
    assert document["scores"] == expected
    assert document["mean"] == pytest.approx(np.mean(list(expected.values())))
    assert document["std"] == pytest.approx(np.std(list(expected.values())))
    lines = dict(line.split("\t") for line in run("score", "jpeg", *expected).splitlines())
    assert set(lines) == {*expected, "mean", "std"}


def test_a_file_may_say_which_reward(tmp_path: Path) -> None:
    (tmp_path / "reward.toml").write_text('[reward]\nname = "colourfulness"\n')
    (tmp_path / "grey.png").write_bytes(encoded(Image.new("RGB", (8, 8), (9, 9, 9))))
    assert f"{tmp_path}/grey.png\t0\n" in run("score", str(tmp_path / "reward.toml"), f"{tmp_path}/grey.png")


def test_a_missing_prompt_and_a_broken_file_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(halves()))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInputError, match="needs a prompt: --prompt"):
        run("score", "agreement", f"{tmp_path}/a.png")
    with pytest.raises(UnreadableImageError, match=r"b\.png"):
        run("score", "jpeg", f"{tmp_path}/b.png")
    with pytest.raises(InvalidInputError, match=r"c\.png cannot be read"):
        run("score", "jpeg", f"{tmp_path}/c.png")
