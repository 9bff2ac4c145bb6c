"""What people and clients are told when the disk is full: one line and `store_error`, never a traceback."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from service.cli.main import main
from tests.support.limits import fill_up, small_disk
from tests.support.pictures import new_image, unit_vectors
from tests.support.server import kallos_server

MORE = 3000  # pictures whose vectors take 3 MB


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory whose collection lies on a disk of its own."""
    root = tmp_path_factory.mktemp("full")
    with small_disk(root / "data" / "default", megabytes=8):
        yield root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[httpx.Client]:
    """Half of the pictures are deleted, and the disk has no room for the other half once more."""
    with kallos_server(root) as client:
        model = client.get("/health/ready").json()["model"]
        collection = Collection.open(root / "data", model_id=model["id"], dim=model["dim"])
        ids = collection.add([new_image(n) for n in range(MORE)], unit_vectors(MORE, model["dim"]))
        collection.delete(ids[::2])
        collection.close()
        fill_up(root / "data" / "default", leave=1 << 18)
        yield client


def test_a_job_says_store_error(root: Path, server: httpx.Client) -> None:
    where = server.post("/jobs/compact").headers["Location"]
    job = server.get(where).json()
    while job["state"] not in ("failed", "succeeded"):
        time.sleep(0.02)
        job = server.get(where).json()
    assert (job["state"], job["code"]) == ("failed", "store_error")
    assert "default/vectors-1.f16: No space left on device" in job["error"]
    assert verify(root / "data", full=True).problems == []


@pytest.mark.parametrize("options", [("--family", "hnsw", "--keep"), ("--reclaim",)])
def test_a_command_says_store_error(
    root: Path, server: httpx.Client, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    assert main(["compact", *options, "--data-dir", str(root / "data"), "--json"]) == 1
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["code"] == "store_error"
    assert error["detail"].endswith("No space left on device")
    assert f"kallos: {error['detail']}" in said.err
    assert "Traceback" not in said.err


def test_a_contact_sheet_that_cannot_be_written_is_no_traceback(
    root: Path, server: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = root / "no" / "sheet.png"
    rank = ["rank", "--axis", "recency", "-n", "2", "--filter", '{"match": {"format": "PNG"}}']
    assert main([*rank, "--sheet", str(sheet), "--data-dir", str(root / "data")]) == 1
    assert f"kallos: cannot write {sheet}: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_finds_no_room_is_no_traceback(options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "service.cli.main", "models", "list", *options]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "kallos: cannot write: No space left on device\n")
