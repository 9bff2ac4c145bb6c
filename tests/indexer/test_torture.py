"""The short form of `make torture`: every named point once, and a few random moments."""

from pathlib import Path

from indexer.disk.faults import POINTS
from tests.torture.kill_loop import kill_loop
from tests.torture.model_run import ModelRun


def test_a_kill_during_a_storm_loses_nothing_acknowledged(tmp_path: Path) -> None:
    kill_loop(tmp_path, runs=len(POINTS) + 4, seed=11)


def test_random_operations_agree_with_numpy_and_a_dict(tmp_path: Path) -> None:
    ModelRun(tmp_path, seed=5).run(1500)
