"""Every row, scored: on a GPU the whole of a large collection, in less time than an index takes on a CPU.

On disk it is a number: how many of the rows in vectors.f16 it covers.

Dimension key   D embedding, K proposed rows
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.rows import Rows
from indexer.errors import CorruptStoreError


class Flat:
    """A scan of all of `rows`: what `indexer.ann.gpu` clones, and what answers where it cannot."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @classmethod
    def load(cls, path: Path, rows: Rows) -> "Flat":
        """Cover the first of `rows`, as many as the file says."""
        text = path.read_text(errors="replace").strip()
        if not text.isdecimal():
            raise CorruptStoreError(f"{path} holds {text[:20]!r}: expected a number of rows")
        return cls(Rows(rows.rows_ND[: int(text)]))

    def save(self, path: Path) -> None:
        path.write_text(f"{self.built}\n")

    @property
    def index(self) -> Any:  # noqa: ANN401 - a SWIG class
        """FAISS's own, for a clone of it."""
        return self._rows.index

    @property
    def built(self) -> int:
        return len(self._rows)

    @property
    def filtered_effort(self) -> int:
        return 1

    def filter_locality(self, query_D: Float32[ndarray, " d"], effort: int, allow: Bitmap) -> float:
        """Every allowed row is scored, wherever it lies."""
        return 1.0

    def efforts(self) -> list[int]:
        return [1]

    @property
    def extendable(self) -> None:
        return None

    def candidates(
        self, query_D: Float32[ndarray, " d"], want: int, effort: int, allow: Bitmap | None
    ) -> Int64[ndarray, " k"]:
        covered = None if allow is None else allow.below(self.built)
        return np.sort(self._rows.best(query_D, want, covered).rows_K)
