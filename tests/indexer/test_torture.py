"""The short form of `make torture`: every named point once, and a few random moments."""

from pathlib import Path

from indexer.faults import POINTS
from tests.torture.kill_loop import kill_loop


def test_a_kill_during_a_storm_loses_nothing_acknowledged(tmp_path: Path) -> None:
    kill_loop(tmp_path, runs=len(POINTS) + 4, seed=11)
