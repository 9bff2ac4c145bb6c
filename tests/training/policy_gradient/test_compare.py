"""Comparisons: thresholds by hand, and a table and a plot of real runs."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.toy_run import FLOW, toy_config, toy_run
from training.policy_gradient.compare import crossing, report, run_folder
from training.policy_gradient.compare_plot import draw
from training.policy_gradient.config import ComparisonConfig

pytestmark = pytest.mark.slow


def test_a_threshold_is_crossed_on_the_line_between_evaluations() -> None:
    # from 1 at epoch 2 to 3 at epoch 6: 2.5 is three quarters of the way
    assert crossing([0, 2, 6], [0.0, 1.0, 3.0], 2.5) == pytest.approx(5)
    assert crossing([0, 2, 6], [0.0, 1.0, 3.0], 0.0) == 0
    assert math.isnan(crossing([0, 2, 6], [0.0, 1.0, 3.0], 3.1))


def test_the_first_crossing_counts_also_when_the_reward_falls_again() -> None:
    assert crossing([0, 1, 2, 3], [0.0, 2.0, 0.0, 5.0], 1.0) == pytest.approx(0.5)


def test_a_report_of_two_algorithms(tiny_generator_folder: Path, tmp_path: Path) -> None:
    config = replace(toy_config(FLOW), comparison=ComparisonConfig((0.4, 0.99)))
    for algorithm in ("pcpo-flow", "dance-grpo"):
        for seed in (0, 1):
            folder = run_folder(tmp_path, algorithm, seed)
            toy_run(tiny_generator_folder, folder, algorithm, replace(config, seed=seed)).run()
    found = report(["pcpo-flow", "dance-grpo"], config, [0, 1], tmp_path)
    assert [arm.name for arm in found.arms] == ["pcpo-flow", "dance-grpo"]
    for arm in found.arms:
        assert arm.epoch_E == [0, 2, 4]
        assert len(arm.clipped_T) == len(arm.gradient_T) == 3  # the last step is not trained
        low, high = arm.reached
        assert low.epochs == [0.0, 0.0]  # half bright from the start
        assert high.count == 0
    lines = found.table().splitlines()
    assert len(lines) == 2 + 2 * 2
    assert "| 0.99 | pcpo-flow | 0 of 2 | – | – | – | – |" in lines
    draw(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert (tmp_path / "report.json").is_file()
