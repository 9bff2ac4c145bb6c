"""Three pictures of a report: bounds, few labels and extremes, and what axes share."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.rankability.evaluate import Report
from training.rankability.measure import EXACT, AttributeReport

DPI = 80
COLUMNS = 4
HIGH_MINUS_LOW = "high - low"


def draw(report: Report, folder: Path) -> list[Path]:
    """Write bounds.png, few-labels.png and transfer.png into `folder`."""
    drawn = {
        "bounds.png": _bounds(report),
        "few-labels.png": _few_labels(report),
        "transfer.png": _transfer(report),
    }
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / name)
        # No version of matplotlib in the file: the same figures give the same bytes.
        figure.savefig(paths[-1], dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return paths


def _bounds(report: Report) -> Figure:
    rows = report.attributes
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        low, high = row.linear.srcc - row.linear.low, row.linear.high - row.linear.srcc
        axes.errorbar(
            row.linear.srcc, y, xerr=[[max(low, 0)], [max(high, 0)]], fmt="o", color="C0", capsize=2
        )
    marks = (
        ("chance", "|", "0.6", [row.permuted and row.permuted.mean for row in rows]),
        ("no-train", "s", "C1", [row.no_train and row.no_train.mean for row in rows]),
        ("nonlinear", "D", "C2", [row.nonlinear and row.nonlinear.mean for row in rows]),
        ("words", "x", "C3", [_words(row) for row in rows]),
        ("tie limit", "|", "k", [row.tie_limited for row in rows]),
    )
    for label, marker, colour, values in marks:
        points = [(x, y) for y, x in enumerate(values) if x is not None]
        if points:
            xs, ys = zip(*points, strict=True)
            axes.scatter(xs, ys, marker=marker, color=colour, label=label, zorder=3, s=28)
    axes.plot([], [], "o", color="C0", label="linear, 95 %")
    axes.axvline(0, color="0.8", zorder=0)
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("SRCC on test pictures")
    figure.legend(loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    return figure


def _words(row: AttributeReport) -> float | None:
    return row.text[HIGH_MINUS_LOW].srcc if HIGH_MINUS_LOW in row.text else None


def _few_labels(report: Report) -> Figure:
    """One small chart an attribute: ridge on n labels beside n/2 pictures of each tail."""
    rows = report.attributes
    n_lines = -(-len(rows) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 0.5 + 1.9 * n_lines), layout="constrained")
    charts = figure.subplots(n_lines, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for chart, row in zip(charts, rows, strict=False):
        _curves(chart, row)
    for chart in charts[len(rows) :]:
        chart.set_axis_off()
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    figure.supxlabel("labels that were looked at", fontsize=9)
    figure.supylabel("SRCC on test pictures", fontsize=9)
    return figure


def _curves(chart: Axes, row: AttributeReport) -> None:
    known = [draws for draws in row.few_shot if draws.draws > 0]
    n, mean, std = ([getattr(draws, name) for draws in known] for name in ("n", "mean", "std"))
    chart.fill_between(
        n, [m - s for m, s in zip(mean, std, strict=True)], [m + s for m, s in zip(mean, std, strict=True)],
        alpha=0.2, color="C0", linewidth=0,
    )  # fmt: skip
    chart.plot(n, mean, ".-", color="C0", label="ridge, drawn over all labels")
    for i, tail in enumerate(row.extremes):
        if not tail.curve:
            continue
        name = "the extremes themselves" if tail.tail == EXACT else f"extremes from {tail.tail:.0%}"
        counts = [2 * draws.n for draws in tail.curve]
        chart.plot(
            counts, [draws.mean for draws in tail.curve], "x--", color=f"C{i + 1}", ms=4, lw=1, label=name
        )
    chart.axhline(0, color="0.8", zorder=0)
    chart.set_xscale("log", base=2)
    chart.set_ylim(-0.3, 1.02)
    chart.set_title(_name(row), fontsize=8)
    chart.tick_params(labelsize=7)


def _transfer(report: Report) -> Figure:
    names = [_name(row) for row in report.attributes]
    side = 1.8 + 0.34 * len(names)
    figure = Figure(figsize=(2 * side, side), layout="constrained")
    charts = figure.subplots(1, 2)
    titles = ("SRCC: axis of the row, pictures of the column", "cosine of the axes")
    for chart, values, title in zip(charts, (report.transfer_AA, report.cosine_AA), titles, strict=True):
        _heat(chart, values.tolist(), names)
        chart.set_title(title, fontsize=9)
    return figure


def _heat(chart: Axes, values: Sequence[Sequence[float]], names: Sequence[str]) -> None:
    chart.imshow(values, cmap=mpl.colormaps["RdBu"], vmin=-1, vmax=1)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            colour = "w" if abs(value) > 0.6 else "k"
            chart.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=5, color=colour)
    chart.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    chart.set_yticks(range(len(names)), names, fontsize=7)


def _name(row: AttributeReport) -> str:
    return f"{row.data}.{row.attribute}"
