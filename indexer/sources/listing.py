"""Lists in the shape of img2dataset: a column of URLs or paths, one of captions, the rest is metadata."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from indexer.errors import InvalidInputError, UnreadableImageError
from indexer.imaging.decode import Limits
from indexer.sources.fetch import Fetch
from indexer.sources.folder import item_of_file
from indexer.sources.source import SourceFailure, SourceItem
from indexer.types import JSONValue

LIST_SUFFIXES = (".parquet", ".csv", ".tsv")
# In order of preference; compared without case.
LOCATION_COLUMNS = ("url", "image_url", "path", "file", "filename", "file_name", "image")
CAPTION_COLUMNS = ("caption", "text", "title", "description", "alt", "alt_text")
ROWS_AT_ONCE = 1024


class ListSource:
    """Rows of a table. Relative paths start at the table's folder."""

    def __init__(self, path: Path, limits: Limits, fetch: Fetch | None) -> None:
        self._path = path
        self._limits = limits
        self._fetch = fetch

    def items(self) -> Iterator[SourceItem | SourceFailure]:
        number = 0
        for batch in self._batches():
            location = _column(batch.schema.names, LOCATION_COLUMNS)
            if location is None:
                raise InvalidInputError(
                    f"{self._path}: expected a column named {', '.join(LOCATION_COLUMNS)}; "
                    f"it has {', '.join(batch.schema.names)}"
                )
            caption = _column(batch.schema.names, CAPTION_COLUMNS)
            for row in batch.to_pylist():
                number += 1
                yield self._item(row, number, location, caption)

    def count(self) -> int | None:
        if self._path.suffix.lower() != ".parquet":
            return None
        try:
            return int(pyarrow.parquet.ParquetFile(self._path).metadata.num_rows)
        except pa.ArrowInvalid:
            return None  # `items` says what is wrong

    def uris(self) -> None:
        return None

    def covers(self, uri: str) -> bool:
        """Never: a list says what to add, not what else there may be."""
        return False

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            if self._path.suffix.lower() == ".parquet":
                yield from pyarrow.parquet.ParquetFile(self._path).iter_batches(ROWS_AT_ONCE)
                return
            delimiter = "\t" if self._path.suffix.lower() == ".tsv" else ","
            # One type for every column: a guess from the first rows would refuse later ones.
            with self._path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
                names = next(csv.reader(file, delimiter=delimiter), [])
            with pyarrow.csv.open_csv(
                self._path,
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            raise InvalidInputError(f"{self._path}: not a readable table: {error}") from error

    def _item(
        self, row: Mapping[str, object], number: int, location: str, caption: str | None
    ) -> SourceItem | SourceFailure:
        where = row[location]
        if not isinstance(where, str) or not where.strip():
            return SourceFailure(
                f"{self._path}#{number}", "not_a_file", f"row {number}: {location} is {where!r}"
            )
        metadata = {name: _json(value) for name, value in row.items() if name not in (location, caption)}
        if caption is not None and row[caption]:
            metadata["caption"] = _json(row[caption])
        metadata = {name: value for name, value in metadata.items() if value is not None}
        where = where.strip()
        if where.lower().startswith(("http://", "https://")):
            return SourceItem(where, 0, 0, self._fetching(where), dict[str, bytes], metadata)
        path = Path(os.path.abspath(self._path.parent / where))  # noqa: PTH100  # as in `open_source`
        return item_of_file(path, self._limits, metadata)

    def _fetching(self, url: str) -> Callable[[], bytes]:
        def read() -> bytes:
            if self._fetch is None:
                raise UnreadableImageError("unreachable", f"{url}: fetching by URL is off")
            return self._fetch(url)

        return read


def _column(names: list[str], wanted: tuple[str, ...]) -> str | None:
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _json(value: object) -> JSONValue:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): _json(entry) for name, entry in value.items()}
    return value if isinstance(value, bool | int | float | str) else None
