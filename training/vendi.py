"""How many different things there are among n, as a number from 1 (all alike) to n (nothing in common).

    VS_q = exp H_q(λ),   H_1 = −Σ λ ln λ,   H_q = ln(Σ λ^q) / (1 − q),   H_∞ = −ln max λ

with λ the eigenvalues of K / n.

Reference: Friedman and Dieng, The Vendi Score (arXiv:2210.02410); orders: Pasarkar and
Dieng (arXiv:2310.12952).
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from indexer.errors import InvalidInputError

TOLERANCE = 1e-4  # of the diagonal, and of the symmetry


def vendi(kernel_NN: Float[ndarray, "n n"], order: float = 1.0) -> float:
    """VS_q of a similarity matrix.

    Args:
        kernel_NN: Symmetric, positive semi-definite, ones on the diagonal.
        order: q ≥ 0; small orders count rare things as much as common ones. May be infinite.

    Raises:
        InvalidInputError: The matrix is empty or is no such matrix, or the order is negative.
    """
    kernel_NN = np.asarray(kernel_NN, np.float64)
    if kernel_NN.ndim != 2 or not len(kernel_NN) or kernel_NN.shape[0] != kernel_NN.shape[1]:
        raise InvalidInputError(f"a kernel of shape {kernel_NN.shape}: expected a square one")
    if (
        np.abs(kernel_NN.diagonal() - 1).max() > TOLERANCE
        or np.abs(kernel_NN - kernel_NN.T).max() > TOLERANCE
    ):
        raise InvalidInputError("the kernel is not symmetric with ones on its diagonal")
    if not order >= 0:
        raise InvalidInputError(f"order is {order}: expected 0 or more")
    share_N = np.linalg.eigvalsh(kernel_NN / len(kernel_NN))
    share_N = share_N[share_N > np.finfo(np.float64).eps * len(kernel_NN)]  # 0 ln 0 = 0, and rounding below 0
    if order == 1:
        return float(np.exp(-np.sum(share_N * np.log(share_N))))
    if np.isinf(order):
        return float(1 / share_N.max())
    return float(np.sum(share_N**order) ** (1 / (1 - order)))
