"""Pictures on disk → vectors of several encoders."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.typing import NDArray

from indexer.errors import InvalidInputError, UnreadableImageError
from indexer.imaging.decode import Limits, decode
from indexer.protocols import Encoder

AT_A_TIME = 256  # pictures that are held decoded


def embed(encoders: Sequence[Encoder], pictures: Sequence[Path]) -> list[Float32[ndarray, "n d"]]:
    """Unit rows, one array an encoder. Each picture is read once and prepared as the first encoder says.

    Raises InvalidInputError, with its path, for a picture that cannot be read.
    """
    limits = Limits.from_memory()

    def prepared(path: Path) -> NDArray[np.generic]:
        try:
            return encoders[0].prepare(decode(path.read_bytes(), limits, name=path.name).pixels)
        except UnreadableImageError as error:
            raise InvalidInputError(f"{path}: {error}") from error

    parts = [[np.zeros((0, encoder.dim), np.float32)] for encoder in encoders]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(pictures), AT_A_TIME):
            batch = list(pool.map(prepared, pictures[start : start + AT_A_TIME]))
            for rows, encoder in zip(parts, encoders, strict=True):
                rows.append(encoder.encode_prepared(batch))
    return [np.concatenate(rows) for rows in parts]
