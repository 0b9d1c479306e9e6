"""Linear features: random features whose activation is the identity, computed in factored form.

    A(u) = [u C, 1]        C frozen

A has rank d/2 + 1 at most, for any number h of features. With C^T = Q R, where Q has orthonormal columns,

    A = B M,   B = [u R^T, 1],   M = diag(Q^T, 1),   M M^T = I,   hence   A^+ = M^T B^+

No array of size (n, h) is formed: A W = B (M W), A^T v = M^T (B^T v), A A^T = B B^T. `row_features` gives B.

Shapes: u (n, d/2), C (d/2, h) with d/2 <= h, Q (h, d/2), R (d/2, d/2), W (h+1, d/2), B (n, d/2+1).
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn import maps
from revgn.arrays import Array, array_namespace, empty, matmul, matmul_into, row_major
from revgn.cost import LayerCost, layer_cost
from revgn.errors import ShapeError
from revgn.layers.feature_map import CouplingParams, FrozenFeatures


@dataclass(frozen=True, slots=True, eq=False)
class LinearFeatures(FrozenFeatures):
    """Features u C and a column of ones. Use `linear_features` to construct them."""

    basis: Array  # Q
    triangle: Array  # R


class LinearFeaturesPoint(NamedTuple):
    """Reduced features B, and the derivative C Wb (d/2, d/2) of A(u) W in u; Wb is W without its last row."""

    features: Array
    derivative: Array


def linear_features(projection: Array) -> LinearFeatures:
    """Return linear features with projection C (d/2, h), after one QR factorization of C^T.

    Raises
    ------
    ShapeError
        If C has more rows than columns. Use `RandomFeatures` with activation "identity" for such a C.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> features = revgn.linear_features(np.random.default_rng(0).standard_normal((2, 8)))
    >>> features.basis.shape  # Q
    (8, 2)
    """
    d2, h = projection.shape
    if d2 > h:
        raise ShapeError(
            f"linear_features: C has shape {projection.shape}; expected (d/2, h) with d/2 <= h. "
            "Use RandomFeatures with activation='identity' for fewer features"
        )
    Q, R = array_namespace(projection).linalg.qr(projection.T)
    return LinearFeatures(projection, row_major(Q), row_major(R))


@maps.forward.register(LinearFeatures)
def forward_linear_features(of: LinearFeatures, params: CouplingParams, u: Array) -> Array:
    return matmul(_features(of, u), _reduce(of, params.weight))


@maps.linearize.register(LinearFeatures)
def linearize_linear_features(
    of: LinearFeatures, params: CouplingParams, u: Array
) -> tuple[Array, LinearFeaturesPoint]:
    B, MW = _features(of, u), _reduce(of, params.weight)
    return matmul(B, MW), LinearFeaturesPoint(B, matmul(of.triangle.T, MW[:-1, :]))


@maps.jvp_input.register(LinearFeatures)
def jvp_input_linear_features(
    of: LinearFeatures, params: CouplingParams, point: LinearFeaturesPoint, du: Array
) -> Array:
    return matmul(du, point.derivative)


@maps.vjp_input.register(LinearFeatures)
def vjp_input_linear_features(
    of: LinearFeatures, params: CouplingParams, point: LinearFeaturesPoint, b: Array
) -> Array:
    return matmul(b, point.derivative.T)


@maps.to_matrices.register(LinearFeatures)
def to_matrices_linear_features(of: LinearFeatures, dparams: CouplingParams) -> tuple[Array, ...]:
    return (_reduce(of, dparams.weight),)


@maps.from_matrices.register(LinearFeatures)
def from_matrices_linear_features(of: LinearFeatures, matrices: tuple[Array, ...]) -> CouplingParams:
    (X,) = matrices
    return CouplingParams(_expand(of, X))


@layer_cost.register(LinearFeatures)
def layer_cost_linear_features(of: LinearFeatures, n: int) -> LayerCost:
    d2, h = of.projection.shape
    narrow, reduced = 2.0 * n * d2 * d2, 2.0 * d2 * d2 * h
    return LayerCost(
        forward=2 * narrow + reduced,
        tangent=narrow,
        params=narrow + reduced,
        gram=float(n) * d2 * min(n, d2 + 1),
        half=0,
        rows=h + 1,
        width=d2,
        features=d2 + 1,
        frozen=d2 * (2 * h + d2),
        point=n * (d2 + 1) + d2 * d2,
    )


def _features(of: LinearFeatures, u: Array) -> Array:
    """Return B = [u R^T, 1]."""
    B = empty((u.shape[0], of.triangle.shape[0] + 1), u)
    matmul_into(u, of.triangle.T, B[:, :-1])
    B[:, -1] = 1.0
    return B


def _reduce(of: LinearFeatures, W: Array) -> Array:
    """Return M W = [Q^T Wb; bias], where W = [Wb; bias]."""
    return _with_row(of.basis.T, W)


def _expand(of: LinearFeatures, X: Array) -> Array:
    """Return M^T X = [Q Xb; bias], where X = [Xb; bias]."""
    return _with_row(of.basis, X)


def _with_row(A: Array, X: Array) -> Array:
    """Return [A Xb; bias] for X = [Xb; bias]: the last row of X is copied."""
    Y = empty((A.shape[0] + 1, X.shape[1]), X)
    matmul_into(A, X[:-1, :], Y[:-1, :])
    Y[-1, :] = X[-1, :]
    return Y
