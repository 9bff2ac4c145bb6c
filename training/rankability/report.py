"""A report for people and for programs: tables for a terminal or a page, and one JSON document."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rerank.axes.few_shot import Draws
from training.rankability.evaluate import Report
from training.rankability.measure import EXACT, AttributeReport, Estimate, Spread

MINUS = "−"


def to_json(report: Report) -> str:
    """What could not be known is null."""
    document = {
        "model": report.model,
        "seed": report.seed,
        "test_share": report.test_share,
        "machine": report.machine,
        "attributes": [{**asdict(row), "gap_closed": row.gap_closed} for row in report.attributes],
        "transfer": {"axes": _names(report), "srcc": report.transfer_AA.tolist()},
        "cosine": {"axes": _names(report), "cosine": report.cosine_AA.tolist()},
    }
    return json.dumps(_known(document), indent=1, allow_nan=False) + "\n"


def to_tables(report: Report) -> str:
    """Markdown: bounds, few labels, extremes, words, shipped axes, transfer, cosines."""
    rows = report.attributes
    parts = [
        f"{report.model}, seed {report.seed}, {report.test_share:.0%} of the pictures for the test.\n",
        _bounds(rows),
        _few_shot(rows),
        _extremes(rows),
        _directions("Words", [(row, row.text) for row in rows]),
        _directions("Axes that come with the model", [(row, row.shipped) for row in rows]),
        _matrix("SRCC of the row's axis on the column's test pictures", report, report.transfer_AA.tolist()),
        _matrix("Cosines of the axes", report, report.cosine_AA.tolist()),
    ]
    return "\n".join(part for part in parts if part)


def _bounds(rows: Sequence[AttributeReport]) -> str:
    head = ["set", "attribute", "n (test)", "values", "chance", "no-train", "linear [95 %]", "nonlinear"]
    return _table(
        "SRCC on test pictures",
        [*head, "gap closed", "tie limit", "Pearson", "MAE"],
        [
            [
                row.data,
                row.attribute,
                f"{row.pictures} ({row.test})",
                str(row.values),
                _spread(row.permuted),
                _spread(row.no_train),
                f"**{number(row.linear.srcc)}** [{number(row.linear.low)}, {number(row.linear.high)}]",
                _spread(row.nonlinear),
                "" if row.gap_closed is None else f"{row.gap_closed:.0%}",
                number(row.tie_limited),
                number(row.pearson),
                f"{row.mean_absolute_error:.3g}",
            ]
            for row in rows
        ],
    )


def _few_shot(rows: Sequence[AttributeReport]) -> str:
    sizes = sorted({draws.n for row in rows for draws in row.few_shot[:-1]})
    lines = []
    for row in rows:
        found = {draws.n: draws for draws in row.few_shot[:-1]}
        everything = row.few_shot[-1]
        cells = [_draws(found.get(n)) for n in sizes]
        lines.append([row.data, row.attribute, *cells, f"{number(everything.mean)} ({everything.n})"])
    return _table(
        "Few labels: mean ± standard deviation over draws",
        ["set", "attribute", *map(str, sizes), "all (how many)"],
        lines,
    )


def _extremes(rows: Sequence[AttributeReport]) -> str:
    counts = sorted({draws.n for row in rows for tail in row.extremes for draws in tail.curve})
    lines = []
    for row in rows:
        for tail in row.extremes:
            found = {draws.n: draws for draws in tail.curve}
            name = "exact" if tail.tail == EXACT else f"{tail.tail:.0%}"
            lines.append([row.data, row.attribute, name, *[_draws(found.get(k)) for k in counts]])
    return _table(
        "Extremes: k pictures of each tail of q",
        ["set", "attribute", "q", *[f"k = {k}" for k in counts]],
        lines,
    )


def _directions(title: str, rows: Sequence[tuple[AttributeReport, "dict[str, Estimate] | Any"]]) -> str:
    lines = [
        [row.data, row.attribute, name, f"{number(e.srcc)} [{number(e.low)}, {number(e.high)}]"]
        for row, found in rows
        for name, e in found.items()
    ]
    return _table(title, ["set", "attribute", "axis", "SRCC with sign [95 %]"], lines) if lines else ""


def _matrix(title: str, report: Report, values: Sequence[Sequence[float]]) -> str:
    names = _names(report)
    return _table(
        title,
        ["", *names],
        [[name, *[number(value) for value in row]] for name, row in zip(names, values, strict=True)],
    )


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])
    return f"**{title}**\n\n{body}\n"


def _names(report: Report) -> list[str]:
    return [f"{row.data}.{row.attribute}" for row in report.attributes]


def _spread(spread: Spread | None) -> str:
    return "" if spread is None else f"{number(spread.mean)} ± {spread.std:.2f}"


def _draws(draws: Draws | None) -> str:
    if draws is None or draws.draws == 0:
        return ""
    return number(draws.mean) if draws.draws == 1 else f"{number(draws.mean)} ± {draws.std:.2f}"


def number(value: float) -> str:
    """Two places and a sign that can be seen; "?" for what is not known."""
    if math.isnan(value):
        return "?"
    return f"{value:.2f}".replace("-", MINUS).replace(f"{MINUS}0.00", "0.00")


def _known(value: Any) -> Any:  # noqa: ANN401  what JSON is made of
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
