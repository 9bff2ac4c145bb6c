"""The second stage: the best hits of a search, as a whole, in another order or with fewer of the same thing.

It sees the first `pool` hits and no others, and the answer says so. In this order: sorted anew by an axis,
near-duplicates left out, the rest made diverse.

Dimension key   N hits of the pool in order, K hits that stay, D embedding
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from indexer.protocols import Snapshot
from indexer.types import ImageId, ImageRow, JSONValue
from rerank.diversity import (
    Collapsed,
    collapse,
    embedding_kernel,
    marginal_relevance,
    metadata_kernel,
    most_diverse,
    qualities,
    vendi_score,
)
from rerank.types import Deduplicate, Diversify

DIVERSE_PLACES = 20  # that are chosen for their Vendi score: 20 take 20 ms of a pool of 200, 30 take 52
HASH_CHARS = 16


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Pictures in their final order; each stands for `count_K` near-duplicates, itself included."""

    ids: list[ImageId]
    count_K: Int64[ndarray, " k"]


def shortlist(
    snapshot: Snapshot,
    ids_N: Int64[ndarray, " n"],
    score_N: Float64[ndarray, " n"],
    deduplicate: Deduplicate | None,
    diversify: Diversify | None,
) -> Shortlist:
    """What becomes of the pictures `ids_N`, best first."""
    ids = [ImageId(i) for i in ids_N.tolist()]
    rows, vectors_ND = snapshot.rows(ids), snapshot.vectors(ids)
    kept = Collapsed(np.arange(len(rows)), np.ones(len(rows), np.int64))
    if deduplicate is not None:
        hashes = [_hash(row) for row in rows]
        kept = collapse(vectors_ND, hashes, cosine=deduplicate.cosine, bits=deduplicate.bits)
    order_K = np.arange(len(kept.kept_K))
    if diversify is not None:
        kernel_KK = kernel(vectors_ND[kept.kept_K], [rows[n] for n in kept.kept_K], diversify.fields)
        order_K = _diverse_order(score_N[kept.kept_K], kernel_KK, diversify)
    ids = [rows[n].id for n in kept.kept_K[order_K]]
    return Shortlist(ids, kept.count_K[order_K])


def vendi_of(
    vectors_KD: Float32[ndarray, "k d"], rows: Sequence[ImageRow], fields: Mapping[str, float]
) -> float:
    """How many really different pictures these are, by embedding, or by `fields` where there are any."""
    return vendi_score(kernel(vectors_KD, rows, fields))


def kernel(
    vectors_KD: Float32[ndarray, "k d"], rows: Sequence[ImageRow], fields: Mapping[str, float]
) -> Float64[ndarray, "k k"]:
    if not fields:
        return embedding_kernel(vectors_KD)
    return metadata_kernel({name: [_value(row, name) for row in rows] for name in fields}, fields)


def _diverse_order(
    score_K: Float64[ndarray, " k"], kernel_KK: Float64[ndarray, "k k"], diversify: Diversify
) -> Int64[ndarray, " k"]:
    """All places; behind those that were chosen for their difference the rest keep their order."""
    if diversify.method == "mmr":
        return marginal_relevance(score_K, kernel_KK, len(score_K), trade=diversify.trade)
    first_K = most_diverse(qualities(score_K), kernel_KK, DIVERSE_PLACES)
    return np.concatenate([first_K, np.setdiff1d(np.arange(len(score_K)), first_K)])


def _hash(row: ImageRow) -> str | None:
    """The perceptual hash, where there is one and nobody has put something else in its place."""
    found = _value(row, "measured.dhash")
    is_hash = isinstance(found, str) and len(found) == HASH_CHARS and set(found) <= set("0123456789abcdef")
    return found if is_hash and isinstance(found, str) else None


def _value(row: ImageRow, field: str) -> JSONValue:
    """As the filter language names it: dots lead into nested objects."""
    value: JSONValue = dict(row.metadata)
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
