"""The `kallos` command, run as a person runs it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from service.cli.main import main
from tests.support.files import encoded, noise, png_that_claims
from tests.support.processes import started
from tests.support.server import write_pictures


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    assert main([str(argument) for argument in arguments]) == status
    return capsys.readouterr().out


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(capsys, *arguments, "--json", status=status))
    return document


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KALLOS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KALLOS_THREADS", "2")
    write_pictures(tmp_path / "pictures")
    return tmp_path / "pictures"


def test_a_day_with_kallos(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_json(capsys, "index", library)
    assert (first["indexed"], first["unchanged"], first["failed"]) == (20, 0, [])
    assert run_json(capsys, "index", library)["unchanged"] == 20

    red = library / "red.png"
    found = run_json(capsys, "search", "--image", red, "-n", 3)
    assert found["hits"][0]["uri"] == str(red)
    assert found["hits"][0]["score"] == pytest.approx(1.0, abs=2e-3)
    table = run(capsys, "search", "a red card", "--axis", "aesthetics=1.5", "-n", 2)
    assert "aesthetics" in table
    assert "20 pictures · exact" in table

    sheet = tmp_path / "sheet.png"
    ranked = run_json(capsys, "rank", "--axis", "recency", "-n", 4, "--sheet", sheet)
    assert [Path(hit["uri"]).stem for hit in ranked["hits"]] == ["black", "blue", "green", "red"]
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 400

    made = run_json(capsys, "axes", "fit", "stars", "--field", "stars")
    assert (made["name"], made["version"], made["trust"]) == ("stars", 1, "exact")
    assert "stars" in run(capsys, "axes", "list")
    assert "The stored field" in run(capsys, "axes", "show", "stars")
    assert run_json(capsys, "axes", "delete", "stars") == {"deleted": "stars"}

    gone = found["hits"][0]["id"]
    assert run_json(capsys, "delete", gone) == {"deleted": [gone]}
    assert run_json(capsys, "search", "--image", red, "-n", 1)["hits"][0]["uri"] != str(red)
    assert run_json(capsys, "compact")["family"] == "exact"
    assert run_json(capsys, "verify", "--full")["problems"] == []
    models = {model["name"]: model for model in run_json(capsys, "models", "list")["models"]}
    assert (models["builtin"]["status"], models["builtin"]["licence"]) == ("installed", "Apache-2.0")


@pytest.mark.parametrize("command", [("index", "pictures"), ("serve", "--port", "0"), ("demo",)])
def test_a_data_directory_that_cannot_be_made_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "pictures").mkdir()
    for data_dir in ("file", "file/below"):
        assert main([*command, "--data-dir", data_dir]) in (1, 3)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        assert str(tmp_path / data_dir) in printed.err or data_dir in printed.err


def test_what_people_wrote_is_printed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KALLOS_DATA_DIR", str(tmp_path / "data"))
    odd = tmp_path / "odd" / "a[bold]x [close].png"
    odd.parent.mkdir()
    odd.write_bytes(encoded(noise(3, (40, 30))))
    odd.with_suffix(".txt").write_text("closing [/b] tag, a \x1b[31mred\x1b[0m parrot\n", "utf-8")
    assert run_json(capsys, "index", odd.parent)["indexed"] == 1
    for arguments in (("search", "parot"), ("search", "--mode", "words", "parrot"), ("rank",)):
        assert main([*arguments]) == 0
        printed = capsys.readouterr()
        assert f"{odd}\n" in re.sub(" +\n", "\n", printed.out)  # whole: this is no terminal
        assert "closing [/b] tag" in printed.out
        assert "\x1b" not in printed.out
        assert "Traceback" not in printed.err
        assert ("searched for parrot too" in printed.err) == (arguments == ("search", "parot"))


def test_sync_follows_the_folder(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "index", library)
    (library / "red.png").unlink()
    (library / "blue.png").rename(library / "azure.png")
    report = run_json(capsys, "index", "--sync", library)
    assert (report["moved"], report["deleted"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["search", "a"], 1, "run `kallos index FOLDER` first"),
        (["index", "/nowhere"], 2, "/nowhere: no such file or folder"),
        (["index", "--model", "nonsense", "."], 1, "'nonsense' is no model"),
        (["search", "--axis", "a=b", "x"], 2, "expected NAME=WEIGHT"),
        (["search", "--filter", "{", "x"], 2, "--filter is not JSON"),
        (["rank", "--order", "up"], 2, "expected one of desc, asc"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_are_explained_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.setenv("KALLOS_DATA_DIR", str(tmp_path / "data"))
    assert main(list(arguments)) == status
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err + printed.out


@pytest.mark.slow
def test_benchmarks_measure_and_record(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    printed = run_json(capsys, "bench", "retrieval", "--folder", library, "--out", out, "--language", "en")
    assert json.loads((out / "retrieval.json").read_text()) == printed
    assert [row["model"] for row in printed["recall"]] == ["builtin-1", "builtin-2"]
    for row in printed["recall"]:
        assert (row["queries"], row["pictures"]) == (4, 4)  # those with captions
        assert row["at_5"] == 100.0
    rows = [
        ("red.png", "a red card", "dev"),
        ("green.png", "a green card", "dev"),
        ("blue.png", "blue", "train"),
    ]
    (library / "captions.jsonl").write_text(
        "".join(json.dumps({"file": f, "captions": [c, "x"], "split": s}) + "\n" for f, c, s in rows)
    )
    listed = run_json(
        capsys, "bench", "retrieval", "--folder", library, "--photos", library, "--split", "dev",
        "--model", "builtin", "--language", "en", "--out", out,
    )["recall"]  # fmt: skip
    assert [(row["model"], row["split"], row["queries"]) for row in listed] == [
        ("builtin-2", None, 3),
        ("builtin-2", "dev", 2),
    ]
    assert (listed[1]["pictures"], listed[1]["at_5"]) == (2, 100.0)
    measured = run_json(capsys, "bench", "ingest", "--folder", library, "--out", out, "--cores", 1)
    assert [(row["data"], row["pictures"]) for row in measured["throughput"]] == [
        ("all", 20),
        ("without SVG", 20),
    ]
    assert all(row["end_to_end"] > 0 for row in measured["throughput"])
    assert {"commit", "machine", "versions", "cores"} <= set(measured)
    work = tmp_path / "work"
    ranked = run_json(capsys, "bench", "rank", "--count", 1000, "--dim", 16, "--out", out, "--work", work)
    assert all(value > 0 for value in ranked["ms"].values())


def hostile(folder: Path) -> dict[str, str]:
    """A hundred files that no indexer likes, and the reason that each must be given."""
    good = encoded(noise(1, (300, 200)), "PNG")
    jpeg = encoded(noise(2, (300, 200)), "JPEG")
    expected: dict[str, str] = {}

    def put(name: str, data: bytes, reason: str) -> None:
        (folder / name).write_bytes(data)
        expected[name] = reason

    for i in range(20):
        put(f"empty{i}.jpg", b"", "empty")
        put(f"text{i}.png", f"hello {i}".encode() * 50, "not_an_image")
        put(f"cut{i}.png", good[: len(good) // 2 + i], "truncated")
        put(f"cut{i}.jpg", jpeg[: len(jpeg) // 2 + i], "truncated")
    for i in range(12):
        put(f"bomb{i}.png", png_that_claims(40_000 + i, 40_000), "too_many_pixels")
    put("entities.svg", b'<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><svg>&c;</svg>', "corrupt")
    (folder / "a.jpg").mkdir()
    expected["a.jpg"] = "not_a_file"
    (folder / "loop").symlink_to(folder)
    expected["loop"] = "link_loop"
    (folder / "gone.png").symlink_to(folder / "nowhere")
    expected["gone.png"] = "dangling_link"
    (folder / "self.png").symlink_to(folder / "self.png")
    expected["self.png"] = "dangling_link"
    os.mkfifo(folder / "pipe.png")
    expected["pipe.png"] = "not_a_file"
    put("zeros.webp", bytes(5000), "not_an_image")
    put("html.gif", b"<html><svg></svg></html>", "not_an_image")
    return expected


@pytest.mark.slow
def test_a_hundred_hostile_files_cost_nothing_but_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder)
    (folder / "wrong.png").write_bytes(encoded(noise(99), "JPEG"))  # mislabelled, and a good picture
    expected = hostile(folder)
    assert len(expected) == 100
    measure = (
        "import re, sys; from service.cli.main import main; status = main(sys.argv[1:]);"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr);"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, "index", str(folder), "--json", "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["indexed"] == 21
    assert {Path(item["uri"]).name: item["reason"] for item in report["failed"]} == expected
    assert all(item["message"] for item in report["failed"])
    assert int(done.stderr.split()[-1]) < 900 * 1024  # KiB; one bomb decoded would be 4.8 GB


@pytest.mark.slow
def test_a_killed_run_is_completed_by_the_next_and_nothing_is_twice(tmp_path: Path) -> None:
    folder, data = tmp_path / "pictures", tmp_path / "data"
    folder.mkdir()
    for seed in range(1500):
        (folder / f"{seed}.png").write_bytes(encoded(noise(seed, (200, 160))))
    command = [
        sys.executable,
        "-m",
        "service.cli.main",
        "index",
        str(folder),
        "--json",
        "--data-dir",
        str(data),
    ]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        vectors = data / "default" / "vectors.f16"
        while not vectors.exists():
            assert first.poll() is None
            time.sleep(0.02)
        collection = Collection.open(data, model_id="builtin-2", dim=640)
        while collection.state().slots == 0:  # the first write; others follow
            assert first.poll() is None
            time.sleep(0.02)
        collection.close()
        first.kill()
    assert verify(data, full=True).problems == []
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert report["indexed"] + report["unchanged"] == 1500
    assert 0 < report["unchanged"] < 1500
    found = verify(data, full=True)
    assert found.problems == []
    assert found.checked["images"] == 1500
