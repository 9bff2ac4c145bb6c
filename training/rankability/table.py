"""Labelled pictures from CSV files.

A file has a header. `image` names the picture, relative to the file; `group`, where there is one, says what
must stay on one side of every split (a person, a scene, the photograph that a crop was cut from); every
other column is an attribute, a number or nothing where it is not known. A column called `label` is an
attribute with the name of the file.

Dimension key   N pictures
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from indexer.errors import InvalidInputError

IMAGE, GROUP, LABEL = "image", "group", "label"


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """One file. A picture without a group is a group of its own."""

    name: str
    pictures: tuple[Path, ...]
    groups: tuple[str, ...]
    labels: Mapping[str, Float64[ndarray, " n"]]  # attribute → numbers, NaN where not known


def read_tables(paths: Sequence[Path]) -> list[LabelledSet]:
    """In the order given; names must differ, they are how the report calls the sets."""
    tables = [read_table(path) for path in paths]
    names = [table.name for table in tables]
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            raise InvalidInputError(f"{path}: two tables are called {name!r}; rename one file")
    return tables


def read_table(path: Path) -> LabelledSet:
    """Raise InvalidInputError, with the line, for what cannot be used."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: not a readable UTF-8 file: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    attributes = _attributes(path, reader.fieldnames or [])
    pictures: list[Path] = []
    groups: list[str] = []
    labels: dict[str, list[float]] = {name: [] for name in attributes}
    try:
        for row in reader:
            where = f"{path} line {reader.line_num}"
            pictures.append(_picture(where, path.parent, row))
            groups.append(row.get(GROUP) or str(pictures[-1].resolve()))
            for name in attributes:
                labels[name].append(_number(where, name, row[name]))
    except csv.Error as error:
        # The reader counts a line once it has understood it.
        raise InvalidInputError(f"{path} line {reader.line_num + 1}: {error}") from error
    if not pictures:
        raise InvalidInputError(f"{path}: no pictures, only a header")
    named = {path.stem if name == LABEL else name: np.array(values) for name, values in labels.items()}
    return LabelledSet(path.stem, tuple(pictures), tuple(groups), named)


def _attributes(path: Path, columns: Sequence[str]) -> list[str]:
    attributes = [name for name in columns if name not in (IMAGE, GROUP)]
    if IMAGE not in columns or not attributes or len(set(columns)) < len(columns) or "" in columns:
        raise InvalidInputError(
            f"{path} line 1: the header is {','.join(columns)!r}; expected {IMAGE!r}, an attribute "
            f"or more, perhaps {GROUP!r}, each once"
        )
    if LABEL in attributes and path.stem in attributes:
        raise InvalidInputError(
            f"{path} line 1: {LABEL!r} would be called {path.stem!r}, as another column is"
        )
    return attributes


def _picture(where: str, folder: Path, row: Mapping[str | None, object]) -> Path:
    if None in row or None in row.values():
        raise InvalidInputError(f"{where}: the line has more or fewer fields than the header")
    name = str(row[IMAGE]).strip()
    if not name or not (folder / name).is_file():
        raise InvalidInputError(f"{where}: {name!r} is no file in {folder}")
    return folder / name


def _number(where: str, name: str, text: str) -> float:
    if not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidInputError(f"{where}: {name} is {text!r}, expected a finite number or nothing")
    return value
