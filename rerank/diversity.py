"""Fewer pictures of the same thing: near-duplicate collapse, marginal relevance, and the Vendi score.

The Vendi score counts how many really different pictures there are (Friedman and Dieng 2023). Of a kernel K
with K_ii = 1, eigenvalues λ of K / n, qualities s:

    VS_q = exp(H_q(λ)),   H_1 = -Σ λ ln λ,   H_q = ln(Σ λ^q) / (1 - q),   H_∞ = -ln max λ        (13)
    qVS_q = mean(s) · VS_q                                                                     (14)
    k(a, b) = Σ_f w_f [a_f = b_f],   Σ_f w_f = 1                                               (15)

Numbers as in Kannen et al. 2024 (Beyond Aesthetics). VS lies between 1, all alike, and n, all different.

**Departures**: qualities are search scores brought to (0, 1] by `qualities`; the best set is sought greedily.

Dimension key   N hits in order, K chosen, D embedding, F metadata fields
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from indexer.errors import InvalidInputError
from rerank.axes.ridge import unit_rows

COPY_COSINE = 0.95  # as in `rerank.match.fit`
COPY_BITS = 6  # of 64 that may differ between perceptual hashes of one picture, saved twice
LEAST_QUALITY = 0.05  # of the worst hit of a pool: it must still count as a picture
SYMMETRY = 1e-6
NOTHING = 1e-12  # an eigenvalue, of a sum of 1, that is zero but for rounding
TIE = 1e-9  # scores that are equal but for rounding


@dataclass(frozen=True, slots=True)
class Collapsed:
    """`kept_K`: places of the pictures that stay, in order. `count_K`: for how many each stands."""

    kept_K: Int64[ndarray, " k"]
    count_K: Int64[ndarray, " k"]


def collapse(
    vectors_ND: Float32[ndarray, "n d"],
    hashes: Sequence[str | None],
    *,
    cosine: float = COPY_COSINE,
    bits: int = COPY_BITS,
) -> Collapsed:
    """Leave out what nearly equals a better placed picture.

    A picture joins the first kept one that it equals by embedding or by hash: chains do not carry on, so a
    row of pictures that each look like the last does not become one.

    Args:
        vectors_ND: Unit length, best hit first.
        hashes: 64 bits as sixteen hexadecimal digits; None where there is none.
        cosine: At least so alike are equal.
        bits: At most so many different bits of a hash are equal.

    Raises:
        InvalidInputError: A hash is not 64 bits of hexadecimal.
    """
    hash_N, known_N = _hashes(hashes)
    kept: list[int] = []
    count: list[int] = []
    for place in range(len(vectors_ND)):
        kept_K = np.array(kept, np.int64)
        like_K = vectors_ND[kept_K] @ vectors_ND[place] >= cosine
        differ_K = np.bitwise_count(hash_N[kept_K] ^ hash_N[place])
        same_K = like_K | ((differ_K <= bits) & known_N[kept_K] & known_N[place])
        if same_K.any():
            count[int(np.argmax(same_K))] += 1
        else:
            kept.append(place)
            count.append(1)
    return Collapsed(np.array(kept, np.int64), np.array(count, np.int64))


def marginal_relevance(
    score_N: Float64[ndarray, " n"], kernel_NN: Float64[ndarray, "n n"], k: int, *, trade: float
) -> Int64[ndarray, " k"]:
    """Places of the `k` best by MMR, in the order chosen (Carbonell and Goldstein 1998).

        argmax_i  λ · score_i  -  (1 - λ) · max_{j chosen} K_ij

    Args:
        score_N: Best first; brought to [0, 1] over the pool, since a kernel lives there too.
        kernel_NN: Likeness in [0, 1].
        k: How many; at most N are returned.
        trade: λ in [0, 1]; 1 is the plain order.

    Returns:
        Ties go to the better placed.
    """
    _check_share("trade", trade)
    value_N = _spread_out(score_N)
    nearest_N = np.zeros(len(value_N))
    open_N = np.ones(len(value_N), bool)
    chosen: list[int] = []
    for _ in range(min(k, len(value_N))):
        gain_N = np.where(open_N, trade * value_N - (1.0 - trade) * nearest_N, -np.inf)
        best = int(np.argmax(gain_N))
        chosen.append(best)
        open_N[best] = False
        nearest_N = np.maximum(nearest_N, kernel_NN[best])
    return np.array(chosen, np.int64)


def most_diverse(
    quality_N: Float64[ndarray, " n"], kernel_NN: Float64[ndarray, "n n"], k: int, *, order: float = 1.0
) -> Int64[ndarray, " k"]:
    """Places of `k` hits, each added so that the quality-weighted Vendi score (14) of the chosen is largest.

    The work grows with the fourth power of `k`; `kallos bench diversity` measures it.

    Args:
        quality_N: In (0, 1], as `qualities` makes them.
        kernel_NN: Likeness with a diagonal of 1.
        k: How many; at most N are returned.
        order: q of (13).

    Returns:
        In the order chosen: the best hit first, since one picture has Vendi score 1. Ties go to the better
        placed.
    """
    check_kernel(kernel_NN)
    chosen: list[int] = []
    rest_R = np.arange(len(quality_N))
    for _ in range(min(k, len(quality_N))):
        mean_R = (quality_N[chosen].sum() + quality_N[rest_R]) / (len(chosen) + 1)
        score_R = mean_R * _vendi_with_each(kernel_NN, np.array(chosen, np.int64), rest_R, order)
        best = int(np.argmax(score_R >= score_R.max() - TIE))
        chosen.append(int(rest_R[best]))
        rest_R = np.delete(rest_R, best)
    return np.array(chosen, np.int64)


def vendi_score(
    kernel_NN: Float64[ndarray, "n n"], order: float = 1.0, quality_N: Float64[ndarray, " n"] | None = None
) -> float:
    """VS_q of (13), or with qualities qVS_q of (14); 0 for no pictures, of which none are different.

    Args:
        kernel_NN: Symmetric, positive semidefinite, with a diagonal of 1.
        order: q > 0, infinity too; small ones count rare pictures more. Not 0: that counts the eigenvalues
            that are not zero, which rounding decides.
        quality_N: Not negative.
    """
    check_kernel(kernel_NN)
    if not order > 0:
        raise InvalidInputError(f"order {order} of a Vendi score: expected a number above 0")
    if len(kernel_NN) == 0:
        return 0.0
    diversity = float(_effective_number(np.linalg.eigvalsh(kernel_NN / len(kernel_NN)), order))
    return diversity if quality_N is None else float(quality_N.mean()) * diversity


def embedding_kernel(vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, "n n"]:
    """Inner products of unit vectors, with a diagonal of exactly 1. Positive semidefinite, so not clipped."""
    rows_ND = unit_rows(vectors_ND)
    kernel_NN = rows_ND @ rows_ND.T
    np.fill_diagonal(kernel_NN, 1.0)
    return kernel_NN


def metadata_kernel(
    values: Mapping[str, Sequence[object]], weights: Mapping[str, float]
) -> Float64[ndarray, "n n"]:
    """Equality of fields, (15). A picture without a value equals only itself in that field.

    Args:
        values: Field → one value a picture; None where it has none. Text is compared without case and
            surrounding space.
        weights: Field → weight ≥ 0, not all 0; brought to a sum of 1.
    """
    total = sum(weights.values())
    if not weights or any(not weight >= 0 for weight in weights.values()) or not 0 < total < np.inf:
        raise InvalidInputError(f"field weights {dict(weights)}: expected numbers from 0, not all of them 0")
    lengths = {len(values[field]) for field in weights}
    assert len(lengths) == 1
    kernel_NN = sum(weight / total * _equal(values[field]) for field, weight in weights.items())
    return np.asarray(kernel_NN, np.float64)


def qualities(score_N: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Search scores as qualities: linear from LEAST_QUALITY for the worst of the pool to 1 for the best.

    Only differences of scores mean anything, so the pool sets the scale; equal scores are all 1.
    """
    return LEAST_QUALITY + (1.0 - LEAST_QUALITY) * _spread_out(score_N)


def check_kernel(kernel_NN: Float64[ndarray, "n n"]) -> None:
    """InvalidInputError unless it is square, symmetric, finite, and 1 on its diagonal."""
    square = kernel_NN.ndim == 2 and kernel_NN.shape[0] == kernel_NN.shape[1]
    if (
        not square
        or not np.isfinite(kernel_NN).all()
        or not np.allclose(kernel_NN, kernel_NN.T, atol=SYMMETRY)
    ):
        raise InvalidInputError(
            f"a kernel of shape {kernel_NN.shape}: expected a square, symmetric, finite matrix"
        )
    if not np.allclose(np.diag(kernel_NN), 1.0, atol=SYMMETRY):
        raise InvalidInputError("a kernel must be 1 on its diagonal: each picture is wholly like itself")


def _vendi_with_each(
    kernel_NN: Float64[ndarray, "n n"],
    chosen_K: Int64[ndarray, " k"],
    rest_R: Int64[ndarray, " r"],
    order: float,
) -> Float64[ndarray, " r"]:
    """Vendi score of the chosen with each of the rest: eigenvalues of R matrices at once."""
    k = len(chosen_K)
    grown_RMM = np.ones((len(rest_R), k + 1, k + 1))
    grown_RMM[:, :k, :k] = kernel_NN[np.ix_(chosen_K, chosen_K)]
    grown_RMM[:, k, :k] = grown_RMM[:, :k, k] = kernel_NN[np.ix_(rest_R, chosen_K)]
    return _effective_number(np.linalg.eigvalsh(grown_RMM / (k + 1)), order)


def _effective_number(lam_RM: Float64[ndarray, "... m"], order: float) -> Float64[ndarray, "..."]:
    # The error of an eigenvalue grows with their number: small orders would count it.
    nothing = max(NOTHING, lam_RM.shape[-1] * np.finfo(np.float64).eps)
    lam_RM = np.where(lam_RM > nothing, lam_RM, 0.0)
    if order == 1.0:
        return np.exp(-(lam_RM * np.log(np.where(lam_RM > 0, lam_RM, 1.0))).sum(axis=-1))
    if np.isinf(order):
        return 1.0 / lam_RM.max(axis=-1)
    power_RM = np.where(lam_RM > 0, lam_RM, 1.0) ** order * (lam_RM > 0)
    return power_RM.sum(axis=-1) ** (1.0 / (1.0 - order))


def _equal(values: Sequence[object]) -> Float64[ndarray, "n n"]:
    keys = [value.strip().casefold() if isinstance(value, str) else value for value in values]
    codes: dict[str, int] = {}
    code_N = np.array(
        [-1 - n if key is None else codes.setdefault(repr(key), len(codes)) for n, key in enumerate(keys)]
    )
    return (code_N[:, None] == code_N[None, :]).astype(np.float64)


def _spread_out(score_N: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Linear from 0 for the worst to 1 for the best; all 1 when they are equal."""
    values_N = np.asarray(score_N, np.float64)
    if not np.isfinite(values_N).all():
        raise InvalidInputError("a score is not finite: pictures without one cannot be made diverse")
    width = np.ptp(values_N) if len(values_N) else 0.0
    return (values_N - values_N.min()) / width if width > 0 else np.ones(len(values_N))


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise InvalidInputError(f"{name} {value}: expected a number from 0 to 1")


def _hashes(hashes: Sequence[str | None]) -> tuple[ndarray, ndarray]:
    """Hashes as numbers, and which are known."""
    numbers = [0 if text is None else _hash(text) for text in hashes]
    return np.array(numbers, np.uint64), np.array([text is not None for text in hashes], bool)


def _hash(text: str) -> int:
    try:
        number = int(text, 16)
    except ValueError:
        number = -1
    if len(text) != 16 or number < 0:
        raise InvalidInputError(f"perceptual hash {text!r}: expected 16 hexadecimal digits")
    return number
