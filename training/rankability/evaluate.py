"""Tables and a model → the report on all attributes."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError
from indexer.protocols import Encoder
from rerank.axes.splits import Split
from training.rankability.embed import embed
from training.rankability.measure import (
    AttributeReport,
    Labelled,
    Text,
    cosines,
    labelled,
    measure,
    split_tables,
    transfer,
)
from training.rankability.table import LabelledSet
from training.rankability.untrained import untrained

SHARES = (0.05, 0.45)  # of the pictures, for the test side
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prompts:
    high: tuple[str, ...]
    low: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`transfer_AA` and `cosine_AA` have the attributes in the order of `attributes`."""

    model: str
    seed: int
    test_share: float
    machine: str
    attributes: tuple[AttributeReport, ...]
    transfer_AA: Float64[ndarray, "a a"]
    cosine_AA: Float64[ndarray, "a a"]


def read_prompts(path: Path) -> dict[str, Prompts]:
    """A JSON object: attribute → {"high": [prompts], "low": [prompts]}."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {name: _prompts(ends) for name, ends in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            f'{path}: expected {{"ATTRIBUTE": {{"high": ["…"], "low": ["…"]}}, …}}: {error!r}'
        ) from error


def _prompts(ends: Mapping[str, Sequence[str]]) -> Prompts:
    high, low = ends["high"], ends["low"]
    if not all(isinstance(end, list) and end and all(isinstance(p, str) for p in end) for end in (high, low)):
        raise ValueError(f"each end needs a list of prompts, found {ends}")
    return Prompts(tuple(high), tuple(low))


def evaluate(
    tables: Sequence[LabelledSet],
    model: str,
    *,
    prompts: Mapping[str, Prompts],
    seed: int,
    test_share: float,
    n_untrained: int,
    device: str = "auto",
    progress: Progress,
) -> Report:
    """Measure every attribute of every table.

    Args:
        tables: What pictures there are, and their labels.
        model: As `indexer.encoders.registry.load_encoder` takes it.
        prompts: By attribute; those without any have no text axis.
        seed: Of split, draws and untrained encoders. The same gives the same report on a CPU.
        test_share: Of the pictures; a tenth more goes to validation.
        n_untrained: Encoders with random weights to compare with; 0 for none.
        device: For open_clip models.
        progress: Is told what is being done.
    """
    if not SHARES[0] <= test_share <= SHARES[1]:
        raise InvalidInputError(f"test share is {test_share}, expected {SHARES[0]} to {SHARES[1]}")
    splits = split_tables(tables, seed, test_share=test_share)
    with ExitStack() as stack:
        encoder = load_encoder(model, device=device)
        random = [
            stack.enter_context(untrained(model, seed + run, device=device)) for run in range(n_untrained)
        ]
        seen = {}
        for table in tables:
            progress(f"{table.name}: {len(table.pictures)} pictures, {1 + n_untrained} encoders")
            seen[table.name] = embed([encoder, *random], table.pictures)
        texts = {name: _text(encoder, ends) for name, ends in prompts.items()}
        shipped = {name: axis.direction_D for name, axis in encoder.axes().items()}
    sets, reports, lines = [], [], []
    for table in tables:
        for name in table.labels:
            progress(f"{table.name}: {name}")
            own, *others = _views(table, name, seen[table.name], splits)
            others_ND = [other.vectors_ND for other in others]
            report, line = measure(own, others_ND, texts.get(name), shipped, seed)
            sets.append(own)
            reports.append(report)
            lines.append(line)
    return Report(
        model=encoder.model_id,
        seed=seed,
        test_share=test_share,
        machine=f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}",
        attributes=tuple(reports),
        transfer_AA=transfer(sets, lines),
        cosine_AA=cosines(lines),
    )


def _views(
    table: LabelledSet,
    attribute: str,
    seen: Sequence[Float32[ndarray, "n d"]],
    splits: Mapping[str, Split],
) -> list[Labelled]:
    """The labelled rows as each encoder sees them."""
    return [labelled(table, attribute, vectors_ND, splits[table.name]) for vectors_ND in seen]


def _text(encoder: Encoder, ends: Prompts) -> Text:
    return Text(ends.high, encoder.encode_texts(ends.high), encoder.encode_texts(ends.low))
