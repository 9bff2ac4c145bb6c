"""SIGKILL at every named point: what was acknowledged is there, what was not is whole or absent."""

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from indexer.disk.faults import POINTS
from indexer.types import ImageId
from tests.support.pictures import new_image, unit_vectors
from tests.support.processes import program
from tests.support.writer import BATCH, DIM, SCRATCH

pytestmark = pytest.mark.slow

WRITER = "tests.support.writer"


def written(data_dir: Path, *, first: int, batches: int, crash_at: str = "") -> tuple[int, str]:
    """What a writer that runs to its end, or to that point, ends with and has said."""
    environment = {"KALLOS_CRASH_AT": crash_at}
    with program(WRITER, data_dir, first, batches, environment=environment) as writer:
        output, _ = writer.communicate()
        return writer.returncode, output


def acknowledged(output: str) -> dict[str, ImageId]:
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return {words[0]: ImageId(int(words[1])) for words in lines if len(words) == 2}


def check(data_dir: Path, known: dict[str, ImageId]) -> None:
    """Everything acknowledged is stored bit for bit, batches are whole, and the collection works."""
    assert verify(data_dir, full=True).problems == []
    collection = Collection.open(data_dir, model_id="test-1", dim=DIM)
    snapshot = collection.snapshot()
    everything = {row.uri: row for row in snapshot.scroll(limit=10_000)}
    stored = {uri: row for uri, row in everything.items() if SCRATCH not in uri}
    assert {uri: stored[uri].id for uri in known} == known
    assert len(stored) % BATCH == 0
    for uri, row in stored.items():
        batch, _, position = uri.removeprefix("/pictures/").removesuffix(".png").partition("-")
        expected_D = unit_vectors(BATCH, DIM, seed=int(batch))[int(position)].astype(np.float16)
        np.testing.assert_array_equal(snapshot.vectors([row.id])[0], expected_D.astype(np.float32))
        assert snapshot.rows(snapshot.nearest(expected_D.astype(np.float32), 1).ids_K)[0].uri == uri
    collection.add([new_image("999-0")], unit_vectors(1, DIM, seed=999))
    collection.delete([collection.known()["/pictures/999-0.png"].id])
    assert verify(data_dir, full=True).problems == []
    collection.close()


@pytest.mark.parametrize("point", [point for point in POINTS if not point.startswith("backup")])
def test_a_kill_at_a_write_point_loses_nothing_acknowledged(tmp_path: Path, point: str) -> None:
    status, output = written(tmp_path, first=0, batches=3)
    known = acknowledged(output)
    assert (status, len(known)) == (0, 3 * BATCH)

    status, output = written(tmp_path, first=3, batches=3, crash_at=point)
    assert status == -signal.SIGKILL, "the point was never reached"
    known |= acknowledged(output)
    check(tmp_path, known)

    status, output = written(tmp_path, first=3, batches=3)
    known |= acknowledged(output)
    assert (status, len(known)) == (0, 6 * BATCH)
    check(tmp_path, known)


def test_kills_at_random_moments_lose_nothing_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(4)
    known: dict[str, ImageId] = {}
    for _ in range(5):
        with program(WRITER, tmp_path, 0, 400) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline()]  # it is past its imports
            time.sleep(rng.uniform(0.0, 0.15))
            writer.kill()
            lines.append(writer.stdout.read())
            assert writer.wait() == -signal.SIGKILL
        known |= acknowledged("".join(lines))
        check(tmp_path, known)
    assert known
