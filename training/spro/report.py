"""The table, the pictures and the plot of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from indexer.imaging.contact_sheet import contact_sheet
from indexer.imaging.enlarge import enlarge, to_png
from training.bootstrap import Mean
from training.policy_gradient.evaluation import Pictures
from training.spro.evaluate import IMAGE, MM, Row

TILE_PX = 96
DPI = 80


def markdown(rows: Sequence[Row], reward: str) -> str:
    names = list(rows[0].held_out)
    head = ["", reward, "gain", *(part for name in names for part in (name, "gain"))]
    head += ["fidelity", "diversity", "words", "unanswered"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        held_out = [
            part for name in names for part in (_mean(row.held_out[name]), _mean(row.held_out_gain[name]))
        ]
        lines.append(
            [
                row.name,
                _mean(row.reward),
                _mean(row.gain),
                *held_out,
                f"{row.fidelity:.3f}",
                f"{row.diversity:.1f}",
                f"{row.words:.1f}",
                str(row.unanswered),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def sheet(arrangements: Sequence[tuple[str, Pictures]], captions: Sequence[str]) -> bytes:
    """A row of pictures for each arrangement, its name below the first, a column for each caption; PNG."""
    tiles = [
        (to_png(enlarge(picture, TILE_PX)), name if place == 0 else caption)
        for name, pictures in arrangements
        for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True))
    ]
    return contact_sheet(tiles, columns=len(captions), tile_px=TILE_PX)


def plot(rows: Sequence[Row], reward: str, path: Path) -> None:
    """Reward by round with its interval, and the held-out rewards beside it, as gains."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    names = [reward, *rows[0].held_out]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        gains = [row.gain if name == reward else row.held_out_gain[name] for row in rows]
        for place, (row, gain) in enumerate(zip(rows, gains, strict=True)):
            error = [[gain.value - gain.low], [gain.high - gain.value]]
            colour = "C1" if row.name in (IMAGE, MM) else "C0"
            axes.errorbar(place, gain.value, yerr=error, fmt="o", capsize=3, color=colour)
        axes.axhline(0, color="0.8", zorder=0)
        axes.set_xticks(range(len(rows)), [row.name for row in rows], rotation=35, ha="right", fontsize=8)
        axes.set_title(f"{name}, gain over the plain caption", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _mean(mean: Mean) -> str:
    return f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
