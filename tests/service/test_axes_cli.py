"""`kallos axes`, run as a person runs it."""

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from service.cli.main import main
from tests.service.test_cli import run, run_json
from tests.support.server import COLOURS, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is indexed beside its `data`."""
    root = tmp_path_factory.mktemp("axes")
    write_pictures(root / "pictures")
    arguments = ["index", str(root / "pictures"), "--data-dir", str(root / "data"), "--json"]
    assert main(arguments) == 0
    return root / "pictures"


@pytest.fixture(autouse=True)
def _library(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALLOS_DATA_DIR", str(pictures.parent / "data"))
    monkeypatch.setenv("KALLOS_THREADS", "1")
    monkeypatch.chdir(pictures)


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_axis_is_taught_by_a_file_of_labels(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures by relative path, by absolute path and by id are the same pictures."""
    first = run_json(capsys, "search", "--image", pictures / "red.png", "-n", 1)["hits"][0]["id"]
    rows = [*[f"{name}.png,1,cards" for name in COLOURS][1:], f"{first},1,cards"]
    rows += [f"{pictures / f'squares{n:02}.png'},0,s{n}" for n in range(8)]
    labels = written(tmp_path / "labels.csv", "\ufeffPath, value,group", *rows)
    made = run_json(capsys, "axes", "fit", "plain", "--labels", labels)
    assert (made["method"], made["inputs"]["count"], made["inputs"]["groups"]) == ("labels", 12, 9)
    ranked = run_json(capsys, "rank", "--axis", "plain", "-n", 4)["hits"]
    assert {Path(hit["uri"]).stem for hit in ranked} == set(COLOURS)

    fresh = [f"squares{n:02}.png,{n % 3}" for n in range(15)]
    judged = written(tmp_path / "judged.csv", "image,label", *fresh)
    found = run_json(capsys, "axes", "evaluate", "plain", "--labels", judged)
    assert (found["n"], found["left_out"]) == (7, 8)
    assert "left out: 8 that it was fitted on" in run(capsys, "axes", "evaluate", "plain", "--labels", judged)


def test_pairs_and_extremes_come_from_files_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = written(tmp_path / "pairs.csv", "more,less", "red.png,squares01.png", "blue.png,squares02.png")
    assert run_json(capsys, "axes", "fit", "calm", "--pairs", pairs)["inputs"]["count"] == 2
    ends = written(tmp_path / "ends.csv", "high,low", "red.png,squares01.png", ",squares02.png")
    made = run_json(capsys, "axes", "fit", "calm", "--extremes", ends)
    assert made["version"] == 2
    assert [len(made["inputs"][end]) for end in ("high", "low")] == [1, 2]
    assert "versions 1, 2" in run(capsys, "axes", "show", "calm@1")
    assert len(run_json(capsys, "axes", "show", "calm")["direction"]) == 640
    run(capsys, "axes", "delete", "calm@2")
    assert run_json(capsys, "axes", "show", "calm")["version"] == 1


def test_an_axis_is_exported_and_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "aesthetics.safetensors"
    assert run_json(capsys, "axes", "export", "aesthetics", file) == {
        "exported": "aesthetics@1",
        "file": str(file),
    }
    made = run_json(capsys, "axes", "import", file, "--name", "beauty")
    assert (made["name"], made["method"]) == ("beauty", "shipped")
    order = [
        [hit["id"] for hit in run_json(capsys, "rank", "--axis", axis, "-n", 20)["hits"]]
        for axis in ("aesthetics", "beauty")
    ]
    assert order[0] == order[1]


def test_a_torch_checkpoint_becomes_an_axis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network, file = nn.Sequential(nn.Linear(640, 4), nn.GELU(), nn.Linear(4, 1)), io.BytesIO()
    torch.save(network.state_dict(), file)
    path = tmp_path / "head.pth"
    path.write_bytes(file.getvalue())
    made = run_json(capsys, "axes", "fit", "taste", "--head", path, "--activation", "gelu")
    assert (made["kind"], made["inputs"]["activation"]) == ("head", "gelu")
    ranked = run_json(capsys, "rank", "--axis", "taste", "-n", 20)["hits"]
    assert [hit["score"] for hit in ranked] == sorted((hit["score"] for hit in ranked), reverse=True)


@pytest.mark.parametrize(
    ("option", "lines", "status", "message"),
    [
        ("--labels", ["path,stars", "red.png,1"], 2, "has the columns path, stars: expected value or label"),
        ("--labels", [""], 2, "has the columns none: expected id or path"),
        ("--labels", ["path,value", "red.png,high"], 2, "line 2: the label is 'high', expected a number"),
        ("--labels", ["path,value", "red.png,"], 2, "line 2: an empty cell"),
        ("--labels", ["path,value", "red.png,nan", "blue.png,1"], 2, "is nan: expected a finite number"),
        ("--labels", ["path,value", "gone.png,1"], 1, "no image 'gone.png'"),
        ("--labels", ["path,value", "red.png,1"], 2, "at least two"),
        ("--pairs", ["more,less", "red.png,red.png"], 2, "paired with itself"),
        ("--extremes", ["high,low", "red.png,"], 2, "both ends need an example"),
        ("--head", ["no tensors"], 2, "not a safetensors file"),
    ],
)
def test_mistakes_in_files_are_explained(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    lines: list[str],
    status: int,
    message: str,
) -> None:
    file = written(tmp_path / "file.csv", *lines)
    assert main(["axes", "fit", "bad", option, str(file)]) == status
    assert message in capsys.readouterr().err
    assert main(["axes", "show", "bad"]) == 1


def test_one_way_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["axes", "fit", "bad", "--field", "stars", "--high", "a", "--low", "b"]) == 2
    assert "expected one way" in capsys.readouterr().err
    assert main(["axes", "fit", "bad"]) == 2
    assert "got 0" in capsys.readouterr().err
    assert main(["axes", "export", "nope", str(tmp_path / "x")]) == 1
    assert "no axis named 'nope'; there are: " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
