"""The whole command on generated pictures, untrained encoders, and the making of labelled sets."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from typer.testing import CliRunner

from indexer.encoders.builtin import FOLDER, BuiltinEncoder
from indexer.errors import InvalidInputError
from tests.support.generated_pictures import pictures
from tests.support.tiny_clip import MODEL, tiny_clip
from training.cli import COMMANDS, main, make_app
from training.encoder import spoil
from training.rankability import materials, measured
from training.rankability.report import number
from training.rankability.untrained import redraw, untrained

app = make_app(COMMANDS)
pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"
COUNT = 60


def ramp(folder: Path, *, darker: bool = False) -> Path:
    """Plain pictures from dark to bright; the label is the brightness, or the opposite of it."""
    rng = np.random.default_rng(0)
    lines = ["image,brightness"]
    for i in range(COUNT):
        grain = rng.normal(0, 6, (40, 40, 3))
        Image.fromarray(np.clip(10 + 4 * i + grain, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{-i if darker else i}")
    (folder / "ramp.csv").write_text("\n".join(lines) + "\n")
    return folder / "ramp.csv"


def test_the_command_measures_generated_pictures(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text('{"brightness": {"high": ["a bright picture"], "low": ["a dark picture"]}}')
    args = ["evaluate", "rankability", str(ramp(tmp_path)), "--prompts", str(prompts), "--test-share", "0.3"]
    args += ["--untrained", "1", "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, args)
    assert ran.exit_code == 0, ran.output
    document = json.loads((tmp_path / "out/report.json").read_text())
    (row,) = document["attributes"]
    assert document["model"] == BuiltinEncoder().model_id
    assert (row["data"], row["attribute"], row["pictures"], row["test"]) == ("ramp", "brightness", COUNT, 18)
    assert row["linear"]["srcc"] > 0.8
    assert row["no_train"]["runs"] == 1
    assert set(row["shipped"]) == set(BuiltinEncoder().axes())
    assert set(row["text"]) == {"high - low", "a bright picture"}
    assert document["transfer"]["srcc"] == [[pytest.approx(row["linear"]["srcc"])]]
    assert f"{row['linear']['srcc']:.2f}" in ran.stdout
    assert (tmp_path / "out/report.md").read_text() == ran.stdout
    for name in ("bounds.png", "few-labels.png", "transfer.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(PNG)


def test_the_same_command_prints_the_same_json(tmp_path: Path) -> None:
    args = ["evaluate", "rankability", str(ramp(tmp_path)), "--untrained", "0", "--json"]
    first, second = (CliRunner().invoke(app, args) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    assert json.loads(first.stdout)["attributes"][0]["no_train"] is None


def test_bad_input_ends_the_program_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("image,x\nno.png,1\n")
    monkeypatch.setattr("sys.argv", ["kallos-train", "evaluate", "rankability", str(tmp_path / "t.csv")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "t.csv line 2: 'no.png' is no file" in capsys.readouterr().err


def test_a_broken_picture_and_a_strange_share_are_said(tmp_path: Path) -> None:
    path = ramp(tmp_path)
    strange = CliRunner().invoke(app, ["evaluate", "rankability", str(path), "--test-share", "0.9"])
    assert isinstance(strange.exception, InvalidInputError)
    assert "test share is 0.9" in str(strange.exception)
    (tmp_path / "7.png").write_bytes(b"not a picture")
    broken = CliRunner().invoke(app, ["evaluate", "rankability", str(path), "--untrained", "0"])
    assert isinstance(broken.exception, InvalidInputError)
    assert "7.png" in str(broken.exception)


# --- Untrained encoders ---


def test_every_weight_of_the_builtin_graph_is_drawn_anew() -> None:
    before, after = (onnx.load(str(FOLDER / "backbone.onnx")) for _ in range(2))
    redraw(after, np.random.default_rng(0))
    assert [node.op_type for node in before.graph.node] == [node.op_type for node in after.graph.node]
    arrays = [{t.name: numpy_helper.to_array(t) for t in g.graph.initializer} for g in (before, after)]
    weights = [name for name, value in arrays[0].items() if name.endswith("_quantized") and value.ndim > 1]
    assert len(weights) == 65  # 64 convolutions and the classifier
    for name in weights:
        old, new = (tensors[name] for tensors in arrays)
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert abs(np.corrcoef(old.ravel().astype(float), new.ravel().astype(float))[0, 1]) < 0.5
        steps = arrays[1][name.removesuffix("_quantized") + "_scale"]
        real = new * steps.reshape(-1, *[1] * (new.ndim - 1))
        assert real.var() == pytest.approx(2 / np.prod(new.shape[1:]), rel=0.35)
    biases = [name for name in arrays[1] if name.endswith("_quantized") and name not in weights]
    assert biases
    assert not any(arrays[1][name].any() for name in biases)


def test_untrained_encoders_differ_by_seed_and_repeat_by_it() -> None:
    vectors = []
    for seed in (1, 1, 2):
        with untrained("builtin", seed) as encoder:
            vectors.append(encoder.encode_images(pictures()))
            assert encoder.dim == vectors[-1].shape[1]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors[0], axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[2]).max() > 0.05
    trained = BuiltinEncoder().encode_images(pictures())
    assert np.abs(vectors[0] - trained).max() > 0.05
    assert vectors[0].std(axis=0).max() > 1e-4  # pictures differ


def test_an_open_clip_architecture_is_drawn_by_its_library() -> None:
    name = tiny_clip().name
    found = []
    for seed in (1, 1, 2):
        with untrained(name, seed, device="cpu") as encoder:
            found.append(encoder.encode_images(pictures()))
            assert encoder.model_id.startswith(f"open_clip:{MODEL}@")
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert np.abs(found[0] - found[2]).max() > 0.05


@pytest.mark.parametrize("name", ["onnx:/models/x", "open_clip:local-dir:/models/x"])
def test_a_model_without_a_named_architecture_has_no_untrained_twin(name: str) -> None:
    with pytest.raises(InvalidInputError, match="no untrained twin"), untrained(name, 0):
        pass


# --- Measured attributes and controlled harm ---


def grey(level: int) -> np.ndarray:
    return np.full((64, 96, 3), level, np.uint8)


def test_measured_attributes_of_plain_pictures() -> None:
    red = grey(0)
    red[..., 0] = 200
    assert measured.colourfulness(grey(90)) == 0
    # no spread; means of R - G and (R + G) / 2 - B are 200 and 100
    assert measured.colourfulness(red) == pytest.approx(0.3 * np.hypot(200, 100))
    assert measured.brightness(grey(90)) == 90
    assert measured.sharpness(grey(90)) == 0
    assert measured.complexity(grey(90)) < 1


def test_detail_is_sharper_and_more_complex_than_its_blur() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    blurred = np.asarray(spoil.blur(Image.fromarray(noise), 0.5))
    assert measured.sharpness(noise) > 10 * measured.sharpness(blurred)
    assert measured.complexity(noise) > 2 * measured.complexity(blurred)


def test_harm_grows_with_its_strength() -> None:
    picture = pictures()[0]
    before = picture.astype(float)
    for kind in ("blur", "compression", "fading"):
        harmed = [materials.harmed(picture, kind, s, np.random.default_rng(0)) for s in (0.0, 0.5, 1.0)]
        errors = [np.abs(after.astype(float) - before).mean() for after in harmed]
        assert all(less < more for less, more in pairwise(errors))
    np.testing.assert_array_equal(spoil.fade(picture, 0.0, np.random.default_rng(0)), picture)


# --- Labelled sets from packages ---


def test_trees_are_counted_in_the_tile_that_holds_their_centre(tmp_path: Path) -> None:
    data = tmp_path / "wheels/deepforest/data"
    data.mkdir(parents=True)
    Image.new("RGB", (410, 620)).save(data / "plot.png")
    boxes = ((0, 0, 20, 20), (190, 190, 208, 208), (195, 0, 215, 20), (380, 590, 420, 630))  # x0 y0 x1 y1
    objects = "".join(
        f"<object><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    (data / "plot.xml").write_text(f"<annotation>{objects}</annotation>")
    rows = list(materials._trees(tmp_path))
    # Two columns and three rows of tiles; the fourth centre, (400, 610), lies in the strip that is cut off.
    assert [row["trees"] for row in rows] == [2, 1, 0, 0, 0, 0]
    assert [row["group"] for row in rows] == ["plot 0 0"] * 4 + ["plot 1 0"] * 2
    with Image.open(tmp_path / str(rows[0]["image"])) as tile:
        assert tile.size == (200, 200)


def emoji(short_name: str, unified: str, **more: object) -> dict[str, object]:
    return {
        "short_name": short_name,
        "unified": unified,
        "image": f"{unified.lower()}.png",
        "subcategory": "family" if "-" in unified or "hands" in short_name else "person",
        **more,
    }


def test_emoji_say_how_old_and_how_many(tmp_path: Path) -> None:
    tones = {
        "1F3FB-1F3FB": {"image": "1f46b-1f3fb.png"},
        "1F3FB-1F3FC": {"image": "1f469-1f3fb-200d-1f468-1f3fc.png"},
    }
    entries = [
        emoji("older_man", "1F474"),
        emoji("baby", "1F476"),
        emoji("man-woman-boy", "1F468-200D-1F469-200D-1F466"),
        emoji("man_and_woman_holding_hands", "1F46B", skin_variations=tones),
        emoji("cook", "1F9D1-200D-1F373", subcategory="person-role"),
    ]
    drawings = tmp_path / "drawn"
    drawings.mkdir()
    (tmp_path / "emoji-datasource-16.0.0/package").mkdir(parents=True)
    (tmp_path / "emoji-datasource-16.0.0/package/emoji.json").write_text(json.dumps(entries))
    for entry in entries:
        (drawings / str(entry["image"])).write_bytes(b"")
    for tone in tones.values():
        (drawings / tone["image"]).write_bytes(b"")
    found = {
        Path(str(row["image"])).stem: (row["age"], row["people"])
        for row in materials._emoji(tmp_path, "drawn", ".png")
    }
    assert found == {
        "1f474": (3, 1),
        "1f476": (0, 1),
        "1f468-200d-1f469-200d-1f466": ("", 3),
        "1f46b": ("", 2),
        "1f46b-1f3fb": ("", 2),
    }


# --- The page ---


def test_the_page_quotes_the_reports() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "rankability.md").read_text()
    for name in ("report", "faded"):
        for row in json.loads((docs / f"rankability/{name}.json").read_text())["attributes"]:
            quoted = f"**{number(row['linear']['srcc'])}**"
            start = f"| {row['data']} | {row['attribute']} | {row['pictures']} ({row['test']}) |"
            assert any(line.startswith(start) and quoted in line for line in page.splitlines()), start
