"""Curves of a comparison: reward, diversity and drift by epoch; gradients and clipping by step."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.policy_gradient.compare import Arm, Report

DPI = 80


def draw(report: Report, path: Path) -> None:
    """Lines are means over seeds, bands one standard deviation of them."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    for number, arm in enumerate(report.arms):
        colour = f"C{number}"
        _band(axes[0, 0], arm, arm.reward_RE, colour)
        _band(axes[0, 1], arm, arm.diversity_RE, colour)
        _against_reward(axes[0, 2], arm, colour)
        for name, rows in arm.held_out_RE.items():
            _band(axes[1, 0], arm, rows, colour, dashed=name != next(iter(arm.held_out_RE)))
        share_T = np.array(arm.gradient_T) / np.sum(arm.gradient_T)
        axes[1, 1].plot(share_T, "o-", color=colour)
        axes[1, 2].plot(arm.clipped_T, "o-", color=colour)
    for reached in report.arms[0].reached:
        axes[0, 0].axhline(reached.threshold, color="0.85", zorder=0)
    titles = (
        ((axes[0, 0], f"reward: {report.reward}", "epoch"), (axes[0, 1], "diversity (Vendi)", "epoch")),
        ((axes[0, 2], "drift at equal reward", "reward"), (axes[1, 0], _held_out(report), "epoch")),
        ((axes[1, 1], "share of the gradient's norm", "step"), (axes[1, 2], "share clipped", "step")),
    )
    for pair in titles:
        for one, title, below in pair:
            one.set_title(title, fontsize=9)
            one.set_xlabel(below, fontsize=8)
            one.tick_params(labelsize=7)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _band(axes: Axes, arm: Arm, rows: list[list[float]], colour: str, *, dashed: bool = False) -> None:
    value_RE = np.array(rows)
    mean_E, std_E = value_RE.mean(axis=0), value_RE.std(axis=0)
    axes.plot(arm.epoch_E, mean_E, "--" if dashed else "-", color=colour, label=arm.name)
    axes.fill_between(arm.epoch_E, mean_E - std_E, mean_E + std_E, color=colour, alpha=0.15, linewidth=0)


def _against_reward(axes: Axes, arm: Arm, colour: str) -> None:
    axes.plot(np.mean(arm.reward_RE, axis=0), np.mean(arm.drift_RE, axis=0), ".-", color=colour)


def _held_out(report: Report) -> str:
    names = list(report.arms[0].held_out_RE)
    return "held out: " + ", ".join(f"{name} (dashed)" if n else name for n, name in enumerate(names))
