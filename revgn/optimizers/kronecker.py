"""The Kronecker factors of one weight matrix's block of the Gauss-Newton matrix: made, inverted, applied.

    P = A^T A / n (h+1, h+1)        Q = sum_(s,o) b_so b_so^T / n (d/2, d/2)
    D = (P + pi sqrt(mu) I)^-1 g (Q + sqrt(mu)/pi I)^-1        pi^2 = (tr P / (h+1)) / (tr Q / (d/2))

a_s b_so^T is the row of the Jacobian in the matrix when column o of a square root of the loss's curvature at
sample s is pulled back; A has the rows a_s. A matrix may have fewer rows than the weight (h+1, d/2) that it
stands for: for linear features A = B M with M M^T = I, P is B^T B / n, and D is M^T times the solution for
M g: the same D, from a smaller P. Source: Martens and Grosse 2015, sections 3 and 6.3.
"""

import math
from typing import NamedTuple

from revgn._dispatch import generic
from revgn.arrays import Array, array_namespace, row_major
from revgn.linalg import PinvRule, add_diagonal, factor, gram_columns, solve_factored
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.losses.cross_entropy import log_softmax
from revgn.maps import KernelPart


class KroneckerFactors(NamedTuple):
    """P and Q, and the inverses of what they are when damped."""

    features: Array  # P
    cotangents: Array  # Q
    features_inverse: Array
    cotangents_inverse: Array


def no_factors(matrix: Array) -> KroneckerFactors:
    """Zeros in the shapes of the factors of a matrix like this one."""
    xp = array_namespace(matrix)
    P, Q = (xp.zeros((m, m), dtype=matrix.dtype, device=matrix.device) for m in matrix.shape)
    return KroneckerFactors(P, Q, P, Q)


def renewed(
    factors: KroneckerFactors, share: float, part: KernelPart, damping: float, rows: int
) -> KroneckerFactors:
    """Factors moved towards those of a batch, and their inverses.

    `share` is that of the old P and Q in the new ones, `damping` mu, and `rows` h + 1; `part` has A (n, m),
    and the cotangents b (c, n, k) of the curvature's columns.
    """
    c, n, k = part.cotangents.shape
    P = gram_columns(part.features) / n
    Q = gram_columns(array_namespace(part.cotangents).reshape(part.cotangents, (c * n, k))) / n
    P = share * factors.features + (1 - share) * P
    Q = share * factors.cotangents + (1 - share) * Q
    pi = math.sqrt((trace(P) / rows) / (trace(Q) / k or math.inf)) or 1.0  # 1 where Q is 0
    root = math.sqrt(damping)
    return KroneckerFactors(P, Q, _inverse(P, pi * root), _inverse(Q, root / pi))


def solved(factors: KroneckerFactors, g: Array) -> Array:
    """D of the gradient g of the matrix."""
    return factors.features_inverse @ g @ factors.cotangents_inverse


@generic
def curvature_columns(loss: Loss, z: Array) -> Array:  # type: ignore[empty-body]
    """Columns s_o (c, n, c) of a square root of the curvature at each sample.

    Notes
    -----
    Law: sum_o s_o s_o^T is n times the second derivative of `value` in that sample's outputs.
    """


@curvature_columns.register(SquaredError)
def curvature_columns_squared_error(loss: SquaredError, z: Array) -> Array:
    """Those of sqrt(2) I, since `value` is the mean of |z - t|^2 without a half."""
    xp, (n, c) = array_namespace(z), z.shape
    root = math.sqrt(2.0) * xp.eye(c, dtype=z.dtype, device=z.device)
    return xp.broadcast_to(root[:, None, :], (c, n, c))


@curvature_columns.register(CrossEntropy)
def curvature_columns_cross_entropy(loss: CrossEntropy, z: Array) -> Array:
    """Those of diag(sqrt p) - p sqrt(p)^T, a root of diag(p) - p p^T."""
    xp = array_namespace(z)
    p = xp.exp(log_softmax(z))
    centered = xp.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None, :] - p[None, :, :]
    return xp.sqrt(p).T[:, :, None] * centered


def _inverse(K: Array, mu: float) -> Array:
    """(K + mu I)^-1, by the ladder of `revgn.linalg.factor`."""
    xp = array_namespace(K)

    def form(dtype: object) -> Array:
        damped: Array = xp.astype(K, dtype, copy=True)
        add_diagonal(damped, mu)
        return damped

    factored, _ = factor(form, K.shape[0], K, PinvRule(), damping_unit="mean")
    return row_major(solve_factored(factored, xp.eye(K.shape[0], dtype=K.dtype, device=K.device)))


def trace(K: Array) -> float:
    """Sum of the diagonal."""
    xp = array_namespace(K)
    return float(xp.sum(xp.linalg.diagonal(K)))
