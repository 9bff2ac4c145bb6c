"""Sums of terms, the order they put rows in, and what a condition is made of.

Dimension key   N rows, K results
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy import ndarray

from indexer.attributes import Attribute, Phrase, Stored, Term, Words
from indexer.where import EVERYTHING, And, Everything, Ids, Not, Where

LARGEST = float(np.finfo(np.float32).max)  # of a score
FEW = 64  # pictures that are left out of a search more cheaply behind it than by a bitmap


def split(where: Where) -> tuple[Where, list[int]]:
    """The condition without what leaves out a few pictures by name, and those."""
    if isinstance(where, Everything):
        return where, []
    parts = where.parts if isinstance(where, And) else (where,)
    kept, without = list[Where](), list[int]()
    for part in parts:
        if isinstance(part, Not) and isinstance(part.part, Ids) and len(part.part.ids) <= FEW:
            without += part.part.ids
        else:
            kept.append(part)
    if len(kept) == len(parts):
        return where, without
    return (kept[0] if len(kept) == 1 else And(tuple(kept)) if kept else EVERYTHING), without


def are_inside(value_N: Float[ndarray, " n"], low: float, high: float | None) -> Bool[ndarray, " n"]:
    """Whether values lie in a band; NaN does not."""
    return value_N >= low if high is None else (value_N >= low) & (value_N < high)


def key_of(attribute: Attribute) -> str | None:
    match attribute:
        case Stored(field):
            return f"field {field}"
        case Words() | Phrase():
            return repr(attribute)
        case _:
            return attribute.key


def share_of(term: Term, value_N: Float[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """What a term adds to the sum of each picture."""
    return (value_N.astype(np.float64) - term.offset) * term.scale


def as_scores(total_N: Float64[ndarray, " n"]) -> Float32[ndarray, " n"]:
    return np.clip(total_N, -LARGEST, LARGEST).astype(np.float32)


def first(keys_N: Float[ndarray, " n"], age_N: ndarray, k: int) -> Int64[ndarray, " k"]:
    """Where the `k` smallest keys stand, in order; ties go to the smaller age, NaN stands last."""
    if k < len(keys_N):
        # NaN sorts last in NumPy, where it belongs. A stable order among equals needs all of them,
        # so everything as good as the k-th is kept before the final sort.
        kth = np.partition(keys_N, k - 1)[k - 1] if k else np.float32(-np.inf)
        keep_N = np.flatnonzero(~(keys_N > kth)) if not np.isnan(kth) else np.arange(len(keys_N))
    else:
        keep_N = np.arange(len(keys_N))
    return keep_N[np.lexsort((age_N[keep_N], keys_N[keep_N]))[:k]]
