"""The reliability diagram of `kallos bench match`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STYLES = {
    "flat": ("tab:orange", "flat threshold"),
    "model": ("tab:blue", "model"),
    "background": ("tab:grey", "background"),
}


def plot_reliability(path: Path, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """One panel a row: what was said against what was true, the area of a point showing how many said it."""
    # Slow to import, and needed by nothing else.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(rows), figsize=(3.2 * len(rows), 3.6), squeeze=False, sharey=True)
    for panel, (title, measured) in zip(panels[0], rows, strict=True):
        panel.plot([0, 1], [0, 1], color="black", linewidth=0.6)
        for name, (colour, label) in STYLES.items():
            points = measured["reliability"][name]
            total = sum(point["count"] for point in points)
            said, true = [p["said"] for p in points], [p["true"] for p in points]
            panel.plot(said, true, color=colour, linewidth=1, label=label)
            panel.scatter(said, true, s=[300 * p["count"] / total for p in points], color=colour, alpha=0.6)
        panel.set(title=title, xlabel="probability said", xlim=(0, 1), ylim=(0, 1))
    panels[0][0].set_ylabel("share found on the first page")
    panels[0][0].legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
