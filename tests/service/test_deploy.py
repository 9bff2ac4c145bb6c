"""`kallos generator use`, `rollback`, `show`: what draws, what is refused, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.blobs.deployed import DeployedStore
from indexer.collection.backup import backup, restore
from indexer.collection.verify import verify
from indexer.disk.faults import GENERATOR_POINTS
from rerank.generate.builtin.generator import FOLDER
from rerank.generate.request import GenerationRequest, Generator, Pixels, Progress
from rerank.types import SearchQuery, TextPart
from service.cli.main import main
from service.settings import Settings
from service.wiring import open_generator, open_library, open_server
from tests.support.processes import until
from tests.support.runs import BASE, write_comparison, write_run
from tests.support.server import kallos_server

ROOT = Path(__file__).parents[2]
REQUEST = GenerationRequest("a red fox", seed=3, steps=4)


def generator_of(data_dir: Path) -> Generator:
    return open_generator(Settings(data_dir=data_dir, threads=1))


def picture(data_dir: Path) -> Pixels:
    return generator_of(data_dir).generate(REQUEST).pixels


def kallos(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def use(
    capsys: pytest.CaptureFixture[str], data: Path, run: Path, *more: str, status: int = 0
) -> dict[str, Any]:
    return kallos(capsys, "generator", "use", run, "--data-dir", data, *more, status=status)


@pytest.mark.slow
def test_a_run_is_put_in_service_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    plain = picture(data)
    first = write_run(tmp_path / "first", seed=1)
    write_comparison(first)
    done = use(capsys, data, first.folder)
    assert (done["model_id"], done["before"]) == (f"{BASE}+{first.id}", BASE)
    of_first = picture(data)
    assert np.abs(of_first.astype(int) - plain).mean() > 2
    assert generator_of(data).generate(REQUEST).model_id == f"{BASE}+{first.id}"

    second = write_run(tmp_path / "second", seed=2, whole=True)
    write_comparison(second, against=f"{BASE}+{first.id}")
    use(capsys, data, second.folder)
    assert np.abs(picture(data).astype(int) - of_first).mean() > 2

    shown = kallos(capsys, "generator", "show", "--data-dir", data)
    assert (shown["model_id"], shown["before"]) == (f"{BASE}+{second.id}", [first.id])
    assert shown["facts"]["run"] == str(tmp_path / "second")
    assert shown["history"][0]["comparison"]["reward"]["difference"] == 0.2

    back = kallos(capsys, "generator", "rollback", "--data-dir", data)
    assert (back["model_id"], back["before"]) == (f"{BASE}+{first.id}", f"{BASE}+{second.id}")
    np.testing.assert_array_equal(picture(data), of_first)
    assert kallos(capsys, "generator", "rollback", "--data-dir", data)["model_id"] == BASE
    np.testing.assert_array_equal(picture(data), plain)
    error = kallos(capsys, "generator", "rollback", "--data-dir", data, status=1)["error"]
    assert error["code"] == "conflict"
    assert [entry["did"] for entry in DeployedStore(data).state().log] == [
        "use",
        "use",
        "rollback",
        "rollback",
    ]


def test_using_it_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    write_comparison(run)
    for _ in range(2):  # the second time nothing compares it with what is in service, which is itself
        assert use(capsys, tmp_path / "data", run.folder)["model_id"] == f"{BASE}+{run.id}"
    assert DeployedStore(tmp_path / "data").state().ids == (run.id,)


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (None, f"nothing compares it with {BASE}"),
        ({"low": -0.01}, "the reward did not surely rise: colourful 0.5 → 0.7, difference +0.2 [-0.01, 0.3]"),
        (
            {"held_out": -0.05},
            "the held-out reward fell: agreement 0.5 → 0.45, difference -0.05 [-0.15, 0.05]",
        ),
        ({"against": "another-1"}, f"it was compared with another-1, not {BASE}"),
        ({"run": "pcpo-000000000000"}, "it was pcpo-000000000000 that was compared"),
    ],
)
def test_what_is_not_better_for_sure_needs_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], comparison: dict[str, Any] | None, expected: str
) -> None:
    run = write_run(tmp_path / "run")
    if comparison is not None:
        write_comparison(run, **comparison)
    error = use(capsys, tmp_path / "data", run.folder, status=1)["error"]
    assert error["code"] == "conflict"
    assert expected in error["detail"]
    assert generator_of(tmp_path / "data").model_id == BASE
    assert expected in use(capsys, tmp_path / "data", run.folder, "--anyway")["objections"][0]
    assert expected in str(DeployedStore(tmp_path / "data").state().log[0]["objections"])


def test_a_run_that_cannot_serve_is_refused_whatever_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(run: Path) -> tuple[str, str]:
        error = use(capsys, tmp_path / "data", run, "--anyway", status=status)["error"]
        return error["code"], error["detail"]

    status = 1
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty")[0] == "not_found"
    foreign = write_run(tmp_path / "foreign", base="builtin-generator-0")
    assert refusal(foreign.folder) == (
        "conflict",
        f"{foreign.folder} was trained from builtin-generator-0, here is {BASE}",
    )
    run = write_run(tmp_path / "run")
    data = (run.folder / run.file).read_bytes()
    (run.folder / run.file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert refusal(run.folder)[0] == "corrupt_store"
    (run.folder / run.file).unlink()
    assert "the file is missing" in refusal(run.folder)[1]

    status = 2
    card = json.loads((run.folder / "card.json").read_text())
    for change in ({"format": 2}, {"kind": "../../etc"}, {"files": {"../secret": "0"}}, {"base": None}):
        (run.folder / "card.json").write_text(json.dumps(card | change))
        assert refusal(run.folder)[0] == "invalid_input"
    assert not (tmp_path / "data/generators/current.json").exists()


def test_a_setting_wins_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run")
    write_comparison(run)
    monkeypatch.setenv("KALLOS_GENERATOR", "builtin")
    assert main(["generator", "use", str(run.folder), "--data-dir", str(tmp_path / "data")]) == 0
    assert "KALLOS_GENERATOR is builtin, which wins" in capsys.readouterr().err
    assert open_generator(Settings(data_dir=tmp_path / "data")).model_id == BASE
    monkeypatch.delenv("KALLOS_GENERATOR")
    assert main(["generator", "show", "--data-dir", str(tmp_path / "data")]) == 0
    assert f"in service: {BASE}+{run.id}" in capsys.readouterr().out


def test_a_picture_is_drawn_from_one_set_of_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "data", write_run(tmp_path / "run")
    write_comparison(run)
    generator, plain = generator_of(data), picture(data)

    def change(progress: Progress) -> None:
        if progress.done == 2:
            use(capsys, data, run.folder)

    during = generator.generate(REQUEST, change)
    assert during.model_id == BASE
    np.testing.assert_array_equal(during.pixels, plain)
    after = generator.generate(REQUEST)
    assert after.model_id == f"{BASE}+{run.id}"
    np.testing.assert_array_equal(after.pixels, picture(data))


@pytest.mark.slow
def test_a_running_server_draws_the_next_picture_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    write_comparison(run)
    with kallos_server(tmp_path) as client:

        def made() -> dict[str, Any]:
            job = client.post("/generate", json={"prompt": "a red fox", "seed": 3, "steps": 4}).json()
            job = until(
                lambda: client.get(f"/jobs/{job['id']}").json(), lambda it: it["state"] == "succeeded"
            )
            found: dict[str, Any] = client.get(f"/generations/{job['result']['generations'][0]}").json()
            return found

        first = made()
        use(capsys, tmp_path / "data", run.folder)
        second = made()
        kallos(capsys, "generator", "rollback", "--data-dir", tmp_path / "data")
        third = made()
    assert [one["model"] for one in (first, second, third)] == [BASE, f"{BASE}+{run.id}", BASE]
    assert first["sha256"] == third["sha256"] != second["sha256"]


def make_collection(data: Path) -> None:
    with open_library(Settings(data_dir=data), create=True):
        pass


def run_use(data: Path, run: Path, crash_at: str = "") -> int:
    command = [
        sys.executable,
        "-m",
        "service.cli.main",
        "generator",
        "use",
        str(run),
        "--data-dir",
        str(data),
    ]
    environment = os.environ | {"KALLOS_CRASH_AT": crash_at}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_a_kill_leaves_the_old_or_the_new_one_in_service(tmp_path: Path) -> None:
    """At each write point of a second deployment, over the first."""
    data = tmp_path / "data"
    make_collection(data)  # a database, for `verify`
    first, second = write_run(tmp_path / "first", seed=1), write_run(tmp_path / "second", seed=2)
    write_comparison(first)
    write_comparison(second, against=f"{BASE}+{first.id}")
    assert run_use(data, first.folder) == 0
    old = picture(data)
    for point in GENERATOR_POINTS:
        assert run_use(data, second.folder, crash_at=point) == -signal.SIGKILL, point
        is_new = point == "generator-in-force"
        expected = second if is_new else first
        assert generator_of(data).model_id == f"{BASE}+{expected.id}"
        assert np.array_equal(picture(data), old) != is_new
        assert verify(data, full=True).problems == []
    assert run_use(data, second.folder) == 0
    assert DeployedStore(data).state().ids == (first.id, second.id)
    left = {path.name for path in (data / "generators").iterdir()}
    assert left == {first.id, second.id, "current.json", "lock"}


def test_verify_names_what_is_damaged_and_use_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "data", write_run(tmp_path / "run")
    write_comparison(run)
    make_collection(data)
    use(capsys, data, run.folder)
    assert verify(data, full=False).checked["generators"] == 1
    weights = data / "generators" / run.id / "unet/diffusion_pytorch_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert verify(data, full=False).problems == []  # as long as before: only reading it tells
    (problem,) = verify(data, full=True).problems
    assert (problem.code, problem.where) == ("generator_damaged", str(weights))
    weights.unlink()
    (problem,) = verify(data, full=False).problems
    assert problem.code == "generator_damaged"
    with open_server(Settings(data_dir=data)) as services:  # searches need no generator
        assert services.engine.search(SearchQuery((TextPart("a card"),))).hits == []
    kallos(capsys, "generator", "show", "--data-dir", data, status=1)
    use(capsys, data, run.folder)
    assert verify(data, full=True).problems == []
    assert weights.read_bytes() == good


def test_a_backup_has_what_is_in_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = tmp_path / "data", write_run(tmp_path / "run")
    write_comparison(run)
    make_collection(data)
    backup(data, tmp_path / "backup")  # one without, to be followed
    use(capsys, data, run.folder)
    backup(data, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert generator_of(tmp_path / "restored").model_id == f"{BASE}+{run.id}"
    np.testing.assert_array_equal(picture(tmp_path / "restored"), picture(data))
    kallos(capsys, "generator", "rollback", "--data-dir", data)
    again = backup(data, tmp_path / "backup")
    assert again.files_copied <= 2  # current.json and the database's, no weights
    assert generator_of(tmp_path / "backup").model_id == BASE
    assert (FOLDER / "model_index.json").is_file()
