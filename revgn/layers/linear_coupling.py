"""Additive coupling with linear features: a coupling whose activation is the identity, in closed form.

    y_i = x_i + A(x_j) W        y_j = x_j        A(u) = [u C, 1]

The features have rank d/2 + 1 at most however many there are. With C^T = Q R (Q orthonormal columns),

    A = B M,   B = [u R^T, 1],   M = diag(Q^T, 1),   M M^T = I,   hence   A^+ = M^T B^+

and nothing of size (n, h) is ever formed: A W = B (M W), A^T v = M^T (B^T v), A A^T = B B^T.

Shapes: halves (n, d/2), C (d/2, h) with d/2 <= h, Q (h, d/2), R (d/2, d/2), W (h+1, d/2),
B (n, d/2+1).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from revgn.arrays import (
    Array,
    Backend,
    DType,
    array_namespace,
    backend_of,
    draw_normal,
    empty,
    matmul,
    matmul_into,
    zeros,
)
from revgn.cost import LayerCost, layer_cost
from revgn.errors import ShapeError
from revgn.linalg import Pinv, PinvRule, apply_pinv, factor_pinv, gram_rows
from revgn.maps import (
    Halves,
    ParamsStep,
    check_half,
    check_halves,
    factor_params,
    forward,
    gram_params,
    init,
    inverse,
    jvp_input,
    jvp_inverse,
    jvp_params,
    linearize,
    linearize_inverse,
    moved,
    moved_back,
    rank_bound,
    solve_params,
    vjp_input,
    vjp_params,
)


@dataclass(frozen=True, slots=True, eq=False)
class LinearCoupling:
    """Moves `half` by linear features of the other half; made by `linear_coupling`."""

    half: Literal[0, 1]
    projection: Array  # C
    basis: Array  # Q
    triangle: Array  # R

    def __post_init__(self) -> None:
        check_half(self)


class LinearCouplingParams(NamedTuple):
    """The trained weight W, its last row the bias."""

    weight: Array


class LinearCouplingPoint(NamedTuple):
    """Reduced features B and the derivative C Wb (d/2, d/2) of the step in the resting half."""

    features: Array
    derivative: Array


def linear_coupling(half: Literal[0, 1], projection: Array) -> LinearCoupling:
    """Coupling with features u C; factors C^T = Q R once.

    Raises
    ------
    ShapeError
        If C has more rows than columns; `Coupling` with the identity takes those.
    """
    d2, h = projection.shape
    if d2 > h:
        raise ShapeError(
            f"linear_coupling: C is {projection.shape}; expected d/2 <= h. Use Coupling for fewer features"
        )
    Q, R = array_namespace(projection).linalg.qr(projection.T)
    return LinearCoupling(half, projection, Q, R)


def draw_linear_coupling(
    half: Literal[0, 1],
    width: int,
    hidden: int,
    rng: np.random.Generator,
    backend: Backend,
    dtype: DType,
) -> LinearCoupling:
    """Coupling of halves of `width` features by `hidden` linear features, with C drawn N(0, 1/hidden)."""
    return linear_coupling(half, draw_normal(rng, (width, hidden), hidden**-0.5, backend, dtype))


@init.register(LinearCoupling)
def init_linear_coupling(
    layer: LinearCoupling, rng: np.random.Generator, scale: float
) -> LinearCouplingParams:
    d2, h = layer.projection.shape
    W = scale * rng.standard_normal((h + 1, d2))
    W[-1, :] = 0.0
    return LinearCouplingParams(backend_of(layer.projection).asarray(W, dtype=layer.projection.dtype))


@forward.register(LinearCoupling)
def forward_linear_coupling(layer: LinearCoupling, params: LinearCouplingParams, x: Halves) -> Halves:
    check_halves("forward", layer, x, layer.projection.shape[0])
    return moved(layer.half, x, matmul(_features(layer, x[1 - layer.half]), _reduce(layer, params.weight)))


@inverse.register(LinearCoupling)
def inverse_linear_coupling(layer: LinearCoupling, params: LinearCouplingParams, y: Halves) -> Halves:
    check_halves("inverse", layer, y, layer.projection.shape[0])
    return moved_back(
        layer.half, y, matmul(_features(layer, y[1 - layer.half]), _reduce(layer, params.weight))
    )


@linearize.register(LinearCoupling)
def linearize_linear_coupling(
    layer: LinearCoupling, params: LinearCouplingParams, x: Halves
) -> tuple[Halves, LinearCouplingPoint]:
    check_halves("linearize", layer, x, layer.projection.shape[0])
    B, MW = _features(layer, x[1 - layer.half]), _reduce(layer, params.weight)
    return moved(layer.half, x, matmul(B, MW)), LinearCouplingPoint(B, matmul(layer.triangle.T, MW[:-1, :]))


@linearize_inverse.register(LinearCoupling)
def linearize_inverse_linear_coupling(
    layer: LinearCoupling, params: LinearCouplingParams, y: Halves
) -> tuple[Halves, LinearCouplingPoint]:
    check_halves("linearize_inverse", layer, y, layer.projection.shape[0])
    B, MW = _features(layer, y[1 - layer.half]), _reduce(layer, params.weight)
    return moved_back(layer.half, y, matmul(B, MW)), LinearCouplingPoint(
        B, matmul(layer.triangle.T, MW[:-1, :])
    )


@jvp_input.register(LinearCoupling)
def jvp_input_linear_coupling(
    layer: LinearCoupling, params: LinearCouplingParams, point: LinearCouplingPoint, dx: Halves
) -> Halves:
    return moved(layer.half, dx, matmul(dx[1 - layer.half], point.derivative))


@jvp_params.register(LinearCoupling)
def jvp_params_linear_coupling(
    layer: LinearCoupling,
    params: LinearCouplingParams,
    point: LinearCouplingPoint,
    dparams: LinearCouplingParams,
) -> Halves:
    dy = matmul(point.features, _reduce(layer, dparams.weight))
    still = zeros(dy.shape, dy)
    return Halves(dy, still) if layer.half == 0 else Halves(still, dy)


@jvp_inverse.register(LinearCoupling)
def jvp_inverse_linear_coupling(
    layer: LinearCoupling, params: LinearCouplingParams, point: LinearCouplingPoint, dy: Halves
) -> Halves:
    return moved_back(layer.half, dy, matmul(dy[1 - layer.half], point.derivative))


@vjp_input.register(LinearCoupling)
def vjp_input_linear_coupling(
    layer: LinearCoupling, params: LinearCouplingParams, point: LinearCouplingPoint, y_bar: Halves
) -> Halves:
    return moved(1 - layer.half, y_bar, matmul(y_bar[layer.half], point.derivative.T))


@vjp_params.register(LinearCoupling)
def vjp_params_linear_coupling(
    layer: LinearCoupling, params: LinearCouplingParams, point: LinearCouplingPoint, y_bar: Halves
) -> LinearCouplingParams:
    return LinearCouplingParams(_expand(layer, matmul(point.features.T, y_bar[layer.half])))


@rank_bound.register(LinearCoupling)
def rank_bound_linear_coupling(layer: LinearCoupling, point: LinearCouplingPoint) -> int:
    return min(point.features.shape)


@gram_params.register(LinearCoupling)
def gram_params_linear_coupling(layer: LinearCoupling, point: LinearCouplingPoint) -> Array:
    return gram_rows(point.features)


@factor_params.register(LinearCoupling)
def factor_params_linear_coupling(layer: LinearCoupling, point: LinearCouplingPoint, rule: PinvRule) -> Pinv:
    return factor_pinv(point.features, rule)  # A and B have the same singular values


@solve_params.register(LinearCoupling)
def solve_params_linear_coupling(
    layer: LinearCoupling, point: LinearCouplingPoint, factored: Pinv, dy: Array
) -> ParamsStep:
    X, BX, info = apply_pinv(factored, dy)
    return ParamsStep(LinearCouplingParams(_expand(layer, X)), BX, info)


@layer_cost.register(LinearCoupling)
def layer_cost_linear_coupling(layer: LinearCoupling, n: int) -> LayerCost:
    d2, h = layer.projection.shape
    narrow, reduced = 2.0 * n * d2 * d2, 2.0 * d2 * d2 * h
    return LayerCost(
        forward=2 * narrow + reduced,
        tangent=narrow,
        params=narrow + reduced,
        gram=float(n) * d2 * min(n, d2 + 1),
        half=layer.half,
        rows=h + 1,
        width=d2,
        features=d2 + 1,
        frozen=d2 * (2 * h + d2),
        point=n * (d2 + 1) + d2 * d2,
    )


def _features(layer: LinearCoupling, u: Array) -> Array:
    """B = [u R^T, 1]."""
    B = empty((u.shape[0], layer.triangle.shape[0] + 1), u)
    matmul_into(u, layer.triangle.T, B[:, :-1])
    B[:, -1] = 1.0
    return B


def _reduce(layer: LinearCoupling, W: Array) -> Array:
    """M W = [Q^T Wb; b]."""
    return _with_row(layer.basis.T, W)


def _expand(layer: LinearCoupling, X: Array) -> Array:
    """M^T X = [Q Xb; b]."""
    return _with_row(layer.basis, X)


def _with_row(A: Array, X: Array) -> Array:
    """A times all rows of X but the last, which stays."""
    Y = empty((A.shape[0] + 1, X.shape[1]), X)
    matmul_into(A, X[:-1, :], Y[:-1, :])
    Y[-1, :] = X[-1, :]
    return Y
