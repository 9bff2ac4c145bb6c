"""Linear axes by ridge regression: embeddings and labels in, lines out.

Dimension key   N labelled pictures, D embedding, R rank of a problem
Paper           "Rankability of visual embeddings", arXiv:2507.03683. f(x) is a unit row of `vectors_ND`, A(x)
                its entry of `label_N`, v_A a direction; A is rankable when v_A·f(x) keeps its order.

    ridge       W = (ZᵀZ + λNI)⁻¹ Zᵀy = Zᵀ(ZZᵀ + λNI)⁻¹ y,    Z, y standardised on the training rows
    axis        v_raw = W / s,    v = v_raw / |v_raw|,    A(x) ≈ gain · v·x + bias

Departures      The paper does not publish its splits, penalties and draws; those here are our choice. Too few
                labels for a validation set choose λ by the squared error of leave-one-out predictions.
                Columns may be scaled by deviations from elsewhere: those of two rows make every column ±1,
                and the direction is noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from indexer.errors import InvalidAxisError
from rerank.axes.rank_correlation import spearman
from rerank.axes.splits import Split

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 3))
EIGEN_FLOOR = 1e-13  # of the largest; what is smaller is rounding
STD_FLOOR = 1e-6  # a column that does not vary over the training rows says nothing


@dataclass(frozen=True, slots=True)
class Line:
    """`label ≈ gain · direction·x + bias` for a unit row x; the direction has length 1, gain is positive."""

    direction_D: Float32[ndarray, " d"]
    gain: float
    bias: float
    penalty: float

    def predict(self, vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, " n"]:
        return self.gain * (unit_rows(vectors_ND) @ self.direction_D.astype(np.float64)) + self.bias


@dataclass(frozen=True, slots=True)
class Factors:
    """A ridge problem, decomposed once for all penalties: W = V (coefficient / (eigen + λN)), V = basis."""

    eigen_R: Float64[ndarray, " r"]  # of ZᵀZ, those that are not zero
    basis_DR: Float64[ndarray, "d r"]  # orthonormal columns
    coefficient_R: Float64[ndarray, " r"]  # VᵀZᵀy


Factorise = Callable[[Float64[ndarray, "n d"], Float64[ndarray, " n"]], Factors]


def primal(z_ND: Float64[ndarray, "n d"], y_N: Float64[ndarray, " n"]) -> Factors:
    """From ZᵀZ: D³, for more rows than columns."""
    eigen_R, basis_DR = np.linalg.eigh(z_ND.T @ z_ND)
    keep_R = eigen_R > EIGEN_FLOOR * eigen_R[-1]
    basis_DR = basis_DR[:, keep_R]
    return Factors(eigen_R[keep_R], basis_DR, basis_DR.T @ (z_ND.T @ y_N))


def dual(z_ND: Float64[ndarray, "n d"], y_N: Float64[ndarray, " n"]) -> Factors:
    """From ZZᵀ: N³, for more columns than rows."""
    eigen_R, rows_NR = np.linalg.eigh(z_ND @ z_ND.T)
    keep_R = eigen_R > EIGEN_FLOOR * eigen_R[-1]
    eigen_R, rows_NR = eigen_R[keep_R], rows_NR[:, keep_R]
    return Factors(eigen_R, z_ND.T @ rows_NR / np.sqrt(eigen_R), np.sqrt(eigen_R) * (rows_NR.T @ y_N))


def by_shape(z_ND: Float64[ndarray, "n d"], y_N: Float64[ndarray, " n"]) -> Factors:
    """Whichever of the two is cheaper."""
    return dual(z_ND, y_N) if z_ND.shape[1] > z_ND.shape[0] else primal(z_ND, y_N)


@dataclass(frozen=True, slots=True)
class Ridge:
    """One regression, for any penalty. The intercept is not penalised."""

    z_ND: Float64[ndarray, "n d"]
    y_N: Float64[ndarray, " n"]
    mean_D: Float64[ndarray, " d"]
    std_D: Float64[ndarray, " d"]
    label_mean: float
    label_std: float
    factors: Factors

    @classmethod
    def of(
        cls,
        vectors_ND: Float32[ndarray, "n d"],
        label_N: ndarray,
        *,
        std_D: Float64[ndarray, " d"] | None = None,
        factorise: Factorise = by_shape,
    ) -> "Ridge":
        """Rows at length 1, columns and labels standardised on these rows.

        Args:
            vectors_ND: One row a picture.
            label_N: One finite number a picture.
            std_D: Deviations of the columns of unit rows, where they are known better than from these rows.
            factorise: `primal`, `dual`, or whichever is cheaper.

        Raises:
            InvalidAxisError: As `check_labels` says, or the rows do not differ.
        """
        check_labels(vectors_ND, label_N)
        x_ND = unit_rows(vectors_ND)
        label_N = np.asarray(label_N, np.float64)
        mean_D, own_D = x_ND.mean(axis=0), x_ND.std(axis=0)
        if not own_D.max() > STD_FLOOR:
            raise InvalidAxisError("the labelled pictures look the same to this model: no direction")
        std_D = np.maximum(own_D if std_D is None else std_D, STD_FLOOR)
        label_mean, label_std = float(label_N.mean()), float(label_N.std())
        z_ND, y_N = (x_ND - mean_D) / std_D, (label_N - label_mean) / label_std
        return cls(z_ND, y_N, mean_D, std_D, label_mean, label_std, factorise(z_ND, y_N))

    def line(self, penalty: float) -> Line:
        """The axis in the space of the embeddings, unscaled."""
        raw_D = self._weights(penalty) / self.std_D * self.label_std
        gain = float(np.linalg.norm(raw_D))
        if not gain > 0:
            raise InvalidAxisError("the labels have nothing to do with what this model sees: no direction")
        bias = self.label_mean - float(raw_D @ self.mean_D)
        return Line((raw_D / gain).astype(np.float32), gain, bias, penalty)

    def left_out(self, penalty: float) -> Float64[ndarray, " n"]:
        """What each row would be predicted from all others, in units of the label; exact, without refitting.

        The residual of a left-out row is e_i / (1 - h_ii), h the leverage. Standardisation and λN stay
        those of all rows.
        """
        z_NR = self.z_ND @ self.factors.basis_DR
        shrunk_R = self._shrunk(penalty)
        leverage_N = 1 / len(self.y_N) + z_NR**2 @ (1 / shrunk_R)
        residual_N = (self.y_N - z_NR @ (self.factors.coefficient_R / shrunk_R)) / (1 - leverage_N)
        return (self.y_N - residual_N) * self.label_std + self.label_mean

    def _weights(self, penalty: float) -> Float64[ndarray, " d"]:
        return self.factors.basis_DR @ (self.factors.coefficient_R / self._shrunk(penalty))

    def _shrunk(self, penalty: float) -> Float64[ndarray, " r"]:
        return self.factors.eigen_R + penalty * len(self.y_N)


def fit_left_out(
    vectors_ND: Float32[ndarray, "n d"],
    label_N: ndarray,
    *,
    std_D: Float64[ndarray, " d"] | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> Line:
    """Ridge for few labels: the penalty whose leave-one-out predictions err least, the larger of equals."""
    ridge = Ridge.of(vectors_ND, label_N, std_D=std_D)
    error = {penalty: float(np.mean((ridge.left_out(penalty) - label_N) ** 2)) for penalty in penalties}
    return ridge.line(min(sorted(penalties, reverse=True), key=lambda penalty: error[penalty]))


def fit_validated(
    vectors_ND: Float32[ndarray, "n d"],
    label_N: ndarray,
    split: Split,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> Line:
    """Ridge on the training side, the penalty with the best validation SRCC, refitted on both; test unseen.

    Raises:
        InvalidAxisError: As `check_labels` says, also when all labels of the validation side are equal.
    """
    check_labels(vectors_ND[split.validation_I], label_N[split.validation_I])
    ridge = Ridge.of(vectors_ND[split.train_I], label_N[split.train_I])

    def validation_srcc(penalty: float) -> float:
        score_J = vectors_ND[split.validation_I] @ ridge.line(penalty).direction_D
        return np.nan_to_num(spearman(score_J, label_N[split.validation_I]), nan=-1.0)

    penalty = max(sorted(penalties, reverse=True), key=validation_srcc)
    both_I = np.sort(np.concatenate([split.train_I, split.validation_I]))
    return Ridge.of(vectors_ND[both_I], label_N[both_I]).line(penalty)


def check_labels(vectors_ND: Float32[ndarray, "n d"], label_N: ndarray) -> None:
    """Raise InvalidAxisError unless there are two rows, finite numbers, and two different labels."""
    if len(vectors_ND) != len(label_N):
        raise InvalidAxisError(f"{len(label_N)} labels for {len(vectors_ND)} pictures: expected one for each")
    if len(label_N) < 2:
        raise InvalidAxisError(f"{len(label_N)} labelled pictures: an axis needs at least two")
    if not np.isfinite(label_N).all() or not np.isfinite(vectors_ND).all():
        raise InvalidAxisError("a label or an embedding is not a finite number")
    if np.ptp(label_N) == 0:
        raise InvalidAxisError(f"all {len(label_N)} labels are {label_N[0]:g}: nothing to tell apart")


def unit_rows(vectors_ND: Float32[ndarray, "n d"]) -> Float64[ndarray, "n d"]:
    """Each row at length 1, in float64; a row of zeros stays."""
    rows_ND = np.asarray(vectors_ND, np.float64)
    return rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), np.finfo(np.float32).tiny)
