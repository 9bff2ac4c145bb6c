"""The short form of `make torture`: every named point once, and a few random moments."""

from pathlib import Path

import pytest

from indexer.disk.faults import POINTS
from tests.torture.kill_loop import kill_loop
from tests.torture.model_run import ModelRun

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_point_of_a_storm_loses_nothing_acknowledged(tmp_path: Path, point: str) -> None:
    kill_loop(tmp_path, [point], seed=11)


def test_kills_at_random_moments_of_storms_lose_nothing_acknowledged(tmp_path: Path) -> None:
    kill_loop(tmp_path, [None] * 4, seed=26)


def test_random_operations_agree_with_numpy_and_a_dict(tmp_path: Path) -> None:
    ModelRun(tmp_path, seed=5).run(1500)
