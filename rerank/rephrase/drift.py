"""Whether an addition still means what the query means.

The addition is compared by itself. Compared together with the query in front of it, nearly everything looks
alike: on the builtin encoder that lets most additions of other queries pass (docs/rephrasing.md).

Dimension key   N phrases, D embedding
"""

from collections.abc import Sequence
from functools import cached_property
from threading import Lock

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.protocols import Encoder
from rerank.calibration_queries import CALIBRATION_QUERIES, unrelated_pairs

QUANTILE = 0.99  # of unrelated pairs that an addition must be closer than


def drift_bound(
    vectors_ND: Float32[ndarray, "n d"], pairs: Sequence[tuple[int, int]], quantile: float = QUANTILE
) -> float:
    """The likeness that this share of `pairs`, rows of `vectors_ND`, stays below."""
    first, second = np.array(pairs).T
    return float(np.quantile(np.einsum("nd,nd->n", vectors_ND[first], vectors_ND[second]), quantile))


class DriftGuard:
    """Calibrates itself on everyday phrases at the first question, once: encoders differ in their scale."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._calibrating = Lock()

    @property
    def bound(self) -> float:
        with self._calibrating:
            return self._bound

    def similarity(self, query: str, addition: str) -> float:
        query_D, addition_D = self._encoder.encode_texts([query, addition])
        return float(query_D @ addition_D)

    @cached_property
    def _bound(self) -> float:
        return drift_bound(self._encoder.encode_texts(CALIBRATION_QUERIES), unrelated_pairs())
