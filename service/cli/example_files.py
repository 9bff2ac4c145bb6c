"""Files of labels, pairs and heads, as the command line takes them."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from indexer.collection.collection import Collection
from indexer.encoders.tensor_files import Tensors, read_checkpoint, read_safetensors
from indexer.errors import InvalidInputError, NotFoundError
from rerank.axes.examples import Label, OrderedPair

PICTURE = ("id", "path", "uri", "image")
VALUE = ("value", "label")
CHECKPOINTS = (".pt", ".pth", ".ckpt")

FindPicture = Callable[[str], int]


def picture_finder(collection: Collection) -> FindPicture:
    """Turns what a person writes into an image id: the id itself, a URI, or a path.

    What it returns raises NotFoundError for what was not indexed.
    """
    known = collection.known()

    def find(text: str) -> int:
        text = text.strip()
        if text.isdecimal() and text not in known:
            return int(text)
        for uri in (text, str(Path(text).absolute()), str(Path(text).resolve())):
            if uri in known:
                return int(known[uri].id)
        raise NotFoundError(f"no image {text!r}: expected an id, or a path or URI that was indexed")

    return find


def read_labels(path: Path, find: FindPicture) -> tuple[Label, ...]:
    """A CSV file with a picture (id, path, uri or image), a value (or label), and maybe a group a row."""
    labels = []
    for line, row in _rows(path, (PICTURE, VALUE)):
        text = _of(row, VALUE)
        try:
            value = float(text)
        except ValueError as error:
            raise InvalidInputError(
                f"{path}, line {line}: the label is {text!r}, expected a number"
            ) from error
        labels.append(Label(find(_of(row, PICTURE)), value, (row.get("group") or "").strip() or None))
    return tuple(labels)


def read_extremes(path: Path, find: FindPicture) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A CSV file with the columns `high` and `low`; one end may have more pictures than the other."""
    high, low = [], []
    for _, row in _rows(path, (("high",), ("low",)), filled=False):
        high += [find(row["high"])] if row["high"].strip() else []
        low += [find(row["low"])] if row["low"].strip() else []
    return tuple(high), tuple(low)


def read_pairs(path: Path, find: FindPicture) -> tuple[OrderedPair, ...]:
    """A CSV file with the columns `more` and `less`: the first picture of a row has more of the attribute."""
    return tuple(
        OrderedPair(find(row["more"]), find(row["less"])) for _, row in _rows(path, (("more",), ("less",)))
    )


def read_head(path: Path) -> Tensors:
    """The tensors of a published head: safetensors, or a torch checkpoint where torch is installed."""
    data = path.read_bytes()
    return read_checkpoint(data) if path.suffix.lower() in CHECKPOINTS else read_safetensors(data)


def _rows(
    path: Path, wanted: Sequence[Sequence[str]], *, filled: bool = True
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line, row) of a CSV file whose header has one of each of `wanted`, each with something in it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            for choices in wanted:
                if not set(choices) & set(names):
                    have, expected = ", ".join(names) or "none", " or ".join(choices)
                    raise InvalidInputError(f"{path} has the columns {have}: expected {expected}")
            for row in reader:
                if filled and not all(_of(row, choices).strip() for choices in wanted):
                    raise InvalidInputError(f"{path}, line {reader.line_num}: an empty cell")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"cannot read {path}: {error}") from error


def _of(row: Mapping[str, str], choices: Sequence[str]) -> str:
    return next((row[name] for name in choices if name in row), "")
