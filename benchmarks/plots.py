"""The recorded figures as pictures. matplotlib (extra `bench`) is loaded when something is drawn."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]
SIZE = (6.4, 4.0)


def draw_all(folder: Path) -> list[Path]:
    """An SVG beside every JSON file in `folder` that has one."""
    drawn = []
    for path in sorted(folder.glob("*.json")):
        for prefix, draw in (("search-", _search), ("growth", _growth), ("filter-", _filter)):
            if path.name.startswith(prefix):
                drawn.append(draw(json.loads(path.read_text()), path.with_suffix(".svg")))
    return drawn


def _search(document: Document, path: Path) -> Path:
    """Recall against queries per second; of each contender only what none of its own runs beats."""
    figure, axes = _figure()
    for contender in document["contenders"]:
        points = _front([(run["recall"], max(run["qps"].values())) for run in contender["runs"]])
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=contender["name"])
    axes.set(xlabel="recall@10", ylabel="queries/s", yscale="log", title=document["data"], xlim=(0.78, 1.005))
    axes.legend(fontsize=8)
    return _save(figure, path)


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted(
        (recall, speed) for recall, speed in points if not any(r >= recall and s > speed for r, s in points)
    )


def _growth(document: Document, path: Path) -> Path:
    rows = document["rows"]
    figure, all_axes = _figure(2, 3, (10.0, 5.2))
    kinds = (
        ("p50_ms", "p50, ms"),
        ("qps", "queries/s"),
        ("recall", "recall@10"),
        ("build_cpu_s", "build, CPU s"),
        ("resident_mb", "resident, MB"),
        ("disk_bytes_per_vector", "disk, bytes/vector"),
    )
    for axes, (key, label) in zip(all_axes.flat, kinds, strict=True):
        known = [(row["pictures"], row[key]) for row in rows]
        axes.plot(*zip(*known, strict=True), marker="o")
        axes.set(xscale="log", xlabel="pictures", title=label)
        axes.set_ylim((0.9, 1.005) if key == "recall" else (0, None))
    return _save(figure, path)


def _filter(document: Document, path: Path) -> Path:
    figure, (above, below) = _figure(2, 1, (6.4, 6.0))
    for kind in dict.fromkeys(row["kind"] for row in document["rows"]):
        rows = sorted((row for row in document["rows"] if row["kind"] == kind), key=lambda row: row["share"])
        shares = [100 * row["share"] for row in rows]
        above.plot(shares, [row["recall"] for row in rows], marker="o", label=kind)
        below.plot(shares, [row["p50_ms"] for row in rows], marker="o", label=kind)
    above.set(xscale="log", ylabel="recall@10", ylim=(0.9, 1.005), title=document["data"])
    below.axhline(document["limit_ms"], color="grey", linestyle="--", label="limit")
    below.set(xscale="log", yscale="log", xlabel="pictures that pass, %", ylabel="p50, ms")
    below.legend(fontsize=8)
    return _save(figure, path)


def _figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = SIZE) -> Any:  # noqa: ANN401
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kallos"  # the same figures give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"  # text, not outlines: a tenth of the bytes
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=size, layout="constrained")


def _save(figure: Any, path: Path) -> Path:  # noqa: ANN401
    from matplotlib import pyplot

    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
