"""The Kronecker factors of one coupling's block of the Gauss-Newton matrix: made, inverted, applied.

    P = A^T A / n (h+1, h+1)        Q = sum_(s,o) b_so b_so^T / n (d/2, d/2)
    D = (P + pi sqrt(mu) I)^-1 g (Q + sqrt(mu)/pi I)^-1        pi^2 = (tr P / (h+1)) / (tr Q / (d/2))

b_so is the cotangent at the half that moves when column o of a square root of the loss's curvature at sample
s is pulled back. Where features are linear, A = B M with M M^T = I, P is B^T B / n and M g takes the place of
g, M^T what results: the same D, from a smaller P. Source: Martens and Grosse 2015, sections 3 and 6.3.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from revgn._dispatch import generic
from revgn.arrays import Array, array_namespace, row_major
from revgn.layers import LinearCoupling, LinearCouplingParams
from revgn.linalg import PinvRule, add_diagonal, factor, gram_columns, solve_factored
from revgn.losses import CrossEntropy, Loss, SquaredError
from revgn.losses.cross_entropy import log_softmax
from revgn.maps import Layer, Params, Point


class KroneckerFactors(NamedTuple):
    """P and Q, and the inverses of what they are when damped."""

    features: Array  # P
    cotangents: Array  # Q
    features_inverse: Array
    cotangents_inverse: Array


def no_factors(params: Params) -> KroneckerFactors:
    """Zeros in the shapes of the factors of a coupling with these parameters."""
    W, orders = params.weight, (feature_count(params), params.weight.shape[1])
    P, Q = (array_namespace(W).zeros((m, m), dtype=W.dtype, device=W.device) for m in orders)
    return KroneckerFactors(P, Q, P, Q)


def feature_count(params: Params) -> int:
    """Columns of A, or of B where features are linear, of a coupling with these parameters."""
    h, d2 = params.weight.shape
    return d2 + 1 if isinstance(params, LinearCouplingParams) else h  # type: ignore[no-any-return]


def renewed(
    factors: KroneckerFactors, share: float, point: Point, bars: Array, damping: float, rows: int
) -> KroneckerFactors:
    """Factors moved towards those of a batch, and their inverses.

    Parameters
    ----------
    share : float
        Of the old P and Q in the new ones.
    bars : (c, n, d/2)
        The cotangents b.
    damping : float
        mu.
    rows : int
        h + 1, of which a P of linear features has fewer.
    """
    c, n, d2 = bars.shape
    P = gram_columns(point.features) / n
    Q = gram_columns(array_namespace(bars).reshape(bars, (c * n, d2))) / n
    P = share * factors.features + (1 - share) * P
    Q = share * factors.cotangents + (1 - share) * Q
    pi = math.sqrt((trace(P) / rows) / (trace(Q) / d2 or math.inf)) or 1.0  # 1 where Q is 0
    root = math.sqrt(damping)
    return KroneckerFactors(P, Q, _inverse(P, pi * root), _inverse(Q, root / pi))


def solved(layer: Layer, factors: KroneckerFactors, g: Params) -> Params:
    """D of the gradient g of one coupling's parameters."""
    return by_features(layer, lambda X: factors.features_inverse @ X @ factors.cotangents_inverse, g)


def by_features(layer: Layer, function: Callable[[Array], Array], of: Params) -> Params:
    """What `function` gives of a change of W, a row each feature: of M W, then M^T, where they are linear."""
    if not isinstance(layer, LinearCoupling):
        return type(of)(function(of.weight))
    return type(of)(_beside_bias(layer.basis, function(_beside_bias(layer.basis.T, of.weight))))


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
    return xp.broadcast_to(root[:, None, :], (c, n, c))  # type: ignore[no-any-return]


@curvature_columns.register(CrossEntropy)
def curvature_columns_cross_entropy(loss: CrossEntropy, z: Array) -> Array:
    """Those of diag(sqrt p) - p sqrt(p)^T, a root of diag(p) - p p^T."""
    xp = array_namespace(z)
    p = xp.exp(log_softmax(z))
    centered = xp.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None, :] - p[None, :, :]
    return xp.sqrt(p).T[:, :, None] * centered  # type: ignore[no-any-return]


def _inverse(K: Array, mu: float) -> Array:
    """(K + mu I)^-1, by the ladder of `revgn.linalg.factor`."""
    xp = array_namespace(K)

    def form(dtype: object) -> Array:
        damped: Array = xp.astype(K, dtype, copy=True)
        add_diagonal(damped, mu)
        return damped

    factored, _ = factor(form, K.shape[0], K, PinvRule(), damping_unit="mean")
    return row_major(solve_factored(factored, xp.eye(K.shape[0], dtype=K.dtype, device=K.device)))


def _beside_bias(A: Array, X: Array) -> Array:
    """diag(A, 1) X."""
    return array_namespace(X).concat((A @ X[:-1, :], X[-1:, :]), axis=0)  # type: ignore[no-any-return]


def trace(K: Array) -> float:
    """Sum of the diagonal."""
    xp = array_namespace(K)
    return float(xp.sum(xp.linalg.diagonal(K)))
