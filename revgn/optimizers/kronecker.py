"""Kronecker factors of the block of one weight matrix in the Gauss-Newton matrix.

    P = A^T A / n (h+1, h+1)        Q = sum_(s,o) b_so b_so^T / n (d/2, d/2)
    D = (P + pi sqrt(mu) I)^-1 g (Q + sqrt(mu)/pi I)^-1        pi^2 = (tr P / (h+1)) / (tr Q / (d/2))

A has the rows a_s, one for each sample s, and b_so is column o of a square root of the loss's curvature at
sample s, pulled back to the coupling. a_s b_so^T is then one row of the Jacobian with respect to the matrix.
g is the gradient with respect to the matrix, and mu the damping.

A layer that applies its matrix at p positions of a sample, such as the pixels of an image, has p rows a and p
rows b for each sample. P is then the sum over the positions, and Q the mean: the gradients at different
positions are taken as uncorrelated (Grosse and Martens 2016, section 3).

A matrix may have fewer rows than the weight (h+1, d/2) that it represents. For linear features A = B M with
M M^T = I, P is B^T B / n, and D is M^T times the solution for M g. This is the same D, from a smaller P.
Source: Martens and Grosse 2015, sections 3 and 6.3.
"""

import math
from typing import NamedTuple

from revgn._dispatch import generic
from revgn.arrays import Array, Deferred, array_namespace, row_major, runs_ahead, together
from revgn.linalg import (
    Factored,
    InverseFactor,
    PinvRule,
    add_diagonal,
    begin_factor,
    gram_columns,
    solve_factored,
)
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.losses.cross_entropy import log_softmax
from revgn.maps import KernelPart


class KroneckerFactors(NamedTuple):
    """P and Q, and the inverses of both with damping added."""

    features: Array  # P
    cotangents: Array  # Q
    features_inverse: Array
    cotangents_inverse: Array


def no_factors(matrix: Array) -> KroneckerFactors:
    """Return factors of zeros, in the shapes that belong to `matrix`."""
    xp = array_namespace(matrix)
    P, Q = (xp.zeros((m, m), dtype=matrix.dtype, device=matrix.device) for m in matrix.shape)
    return KroneckerFactors(P, Q, P, Q)


def begin_renewal(
    factors: KroneckerFactors, share: float, part: KernelPart, damping: float, rows: int, samples: int
) -> Deferred[KroneckerFactors]:
    """Start to compute the means of the old factors and the factors of a batch, with their inverses.

    `share` is the weight of the old P and Q in the means, `damping` is mu, and `rows` is h + 1. `part` holds
    A (n p, m) and the pulled-back columns b (c, n p, k) of the curvature, for n = `samples`.
    """
    c, positions, k = part.cotangents.shape
    P = gram_columns(part.features) / samples
    Q = gram_columns(array_namespace(part.cotangents).reshape(part.cotangents, (c * positions, k)))
    Q = Q / positions
    P = share * factors.features + (1 - share) * P
    Q = share * factors.cotangents + (1 - share) * Q
    xp, of_Q = array_namespace(P), trace(Q) / k
    pi = xp.sqrt(trace(P) / rows / xp.where(of_Q == 0, xp.full_like(of_Q, math.inf), of_Q))
    pi = xp.where(pi == 0, xp.ones_like(pi), pi)  # 1 where P or Q is 0
    root = math.sqrt(damping)
    inverses = together([_begin_inverse(P, pi * root), _begin_inverse(Q, root / pi)])
    return inverses.then(lambda found: KroneckerFactors(P, Q, *found))


def preconditioned(factors: KroneckerFactors, g: Array) -> Array:
    """Return the direction D for the gradient g with respect to the matrix."""
    return factors.features_inverse @ g @ factors.cotangents_inverse


@generic
def curvature_columns(loss: Loss, z: Array) -> Array:  # type: ignore[empty-body]
    """Return the columns s_o (c, n, c) of a square root of the curvature at each sample.

    Notes
    -----
    Law: sum_o s_o s_o^T is n times the second derivative of `value` with respect to the sample's outputs.
    """


@curvature_columns.register(SquaredError)
def curvature_columns_squared_error(loss: SquaredError, z: Array) -> Array:
    """Return the columns of sqrt(2) I, since `value` is the mean of |z - t|^2 without a factor 1/2."""
    xp, (n, c) = array_namespace(z), z.shape
    root = math.sqrt(2.0) * xp.eye(c, dtype=z.dtype, device=z.device)
    return xp.broadcast_to(root[:, None, :], (c, n, c))


@curvature_columns.register(CrossEntropy)
def curvature_columns_cross_entropy(loss: CrossEntropy, z: Array) -> Array:
    """Return the columns of diag(sqrt p) - p sqrt(p)^T, a square root of diag(p) - p p^T."""
    xp = array_namespace(z)
    p = xp.exp(log_softmax(z))
    centered = xp.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None, :] - p[None, :, :]
    return xp.sqrt(p).T[:, :, None] * centered


def _begin_inverse(K: Array, mu: Array) -> Deferred[Array]:
    """Start to compute (K + mu I)^-1, with the fallbacks of `revgn.linalg.factor`."""
    xp = array_namespace(K)

    def form(dtype: object) -> Array:
        damped: Array = xp.astype(K, dtype, copy=True)
        add_diagonal(damped, mu)
        return damped

    def solved(found: Factored) -> Array:
        factor, _ = found
        if isinstance(factor, InverseFactor):
            return row_major(gram_columns(factor.inverse))
        return row_major(solve_factored(factor, xp.eye(K.shape[0], dtype=K.dtype, device=K.device)))

    begun = begin_factor(form, K.shape[0], K, PinvRule(), damping_scale="mean", invert=runs_ahead(K))
    return begun.then(solved)


def trace(K: Array) -> Array:
    """Return the sum of the diagonal as a 0-d array in double precision."""
    xp = array_namespace(K)
    return xp.asarray(xp.astype(xp.sum(xp.linalg.diagonal(K)), xp.float64))
