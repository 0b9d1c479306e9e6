"""Additive coupling: one half moves by features of the other half.

    y_i = x_i + A(x_j) W        y_j = x_j        A(u) = [phi(u C), 1]

C is frozen, drawn N(0, 1/h); W is trained, its last row the bias; Wb is W without that row.

Shapes: halves (n, d/2), C (d/2, h), W (h+1, d/2), A (n, h+1), phi' (n, h). Source: Buffelli et al.
2024, section 4, with the half-coupling as the layer.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from revgn.arrays import (
    Array,
    Backend,
    DType,
    activate,
    backend_of,
    draw_normal,
    matmul,
    sandwich,
    zeros,
)
from revgn.cost import LayerCost, layer_cost
from revgn.layers.activation import Activation, value_and_slope
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
class Coupling:
    """Moves `half` by features of the other half."""

    half: Literal[0, 1]
    projection: Array  # C
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_half(self)


class CouplingParams(NamedTuple):
    """The trained weight W, its last row the bias."""

    weight: Array


class CouplingPoint(NamedTuple):
    """Features A and slopes phi' (for relu booleans) at the resting half."""

    features: Array
    slope: Array


def draw_coupling(
    half: Literal[0, 1],
    width: int,
    hidden: int,
    activation: Activation,
    rng: np.random.Generator,
    backend: Backend,
    dtype: DType,
) -> Coupling:
    """Coupling of halves of `width` features by `hidden` features, with C drawn N(0, 1/hidden)."""
    return Coupling(half, draw_normal(rng, (width, hidden), hidden**-0.5, backend, dtype), activation)


@init.register(Coupling)
def init_coupling(layer: Coupling, rng: np.random.Generator, scale: float) -> CouplingParams:
    d2, h = layer.projection.shape
    W = scale * rng.standard_normal((h + 1, d2))
    W[-1, :] = 0.0
    return CouplingParams(backend_of(layer.projection).asarray(W, dtype=layer.projection.dtype))


@forward.register(Coupling)
def forward_coupling(layer: Coupling, params: CouplingParams, x: Halves) -> Halves:
    check_halves("forward", layer, x, layer.projection.shape[0])
    return moved(layer.half, x, matmul(_point(layer, x[1 - layer.half]).features, params.weight))


@inverse.register(Coupling)
def inverse_coupling(layer: Coupling, params: CouplingParams, y: Halves) -> Halves:
    check_halves("inverse", layer, y, layer.projection.shape[0])
    point = _point(layer, y[1 - layer.half])  # y_j = x_j, so A is the same
    return moved_back(layer.half, y, matmul(point.features, params.weight))


@linearize.register(Coupling)
def linearize_coupling(layer: Coupling, params: CouplingParams, x: Halves) -> tuple[Halves, CouplingPoint]:
    check_halves("linearize", layer, x, layer.projection.shape[0])
    point = _point(layer, x[1 - layer.half])
    return moved(layer.half, x, matmul(point.features, params.weight)), point


@linearize_inverse.register(Coupling)
def linearize_inverse_coupling(
    layer: Coupling, params: CouplingParams, y: Halves
) -> tuple[Halves, CouplingPoint]:
    check_halves("linearize_inverse", layer, y, layer.projection.shape[0])
    point = _point(layer, y[1 - layer.half])
    return moved_back(layer.half, y, matmul(point.features, params.weight)), point


@jvp_input.register(Coupling)
def jvp_input_coupling(layer: Coupling, params: CouplingParams, point: CouplingPoint, dx: Halves) -> Halves:
    return moved(layer.half, dx, _push(layer, params, point, dx[1 - layer.half]))


@jvp_params.register(Coupling)
def jvp_params_coupling(
    layer: Coupling, params: CouplingParams, point: CouplingPoint, dparams: CouplingParams
) -> Halves:
    dy = matmul(point.features, dparams.weight)
    still = zeros(dy.shape, dy)
    return Halves(dy, still) if layer.half == 0 else Halves(still, dy)


@jvp_inverse.register(Coupling)
def jvp_inverse_coupling(layer: Coupling, params: CouplingParams, point: CouplingPoint, dy: Halves) -> Halves:
    return moved_back(layer.half, dy, _push(layer, params, point, dy[1 - layer.half]))


@vjp_input.register(Coupling)
def vjp_input_coupling(
    layer: Coupling, params: CouplingParams, point: CouplingPoint, y_bar: Halves
) -> Halves:
    pulled = sandwich(y_bar[layer.half], params.weight[:-1, :].T, point.slope, layer.projection.T)
    return moved(1 - layer.half, y_bar, pulled)


@vjp_params.register(Coupling)
def vjp_params_coupling(
    layer: Coupling, params: CouplingParams, point: CouplingPoint, y_bar: Halves
) -> CouplingParams:
    return CouplingParams(matmul(point.features.T, y_bar[layer.half]))


@rank_bound.register(Coupling)
def rank_bound_coupling(layer: Coupling, point: CouplingPoint) -> int:
    return min(point.features.shape)


@gram_params.register(Coupling)
def gram_params_coupling(layer: Coupling, point: CouplingPoint) -> Array:
    return gram_rows(point.features)


@factor_params.register(Coupling)
def factor_params_coupling(layer: Coupling, point: CouplingPoint, rule: PinvRule) -> Pinv:
    return factor_pinv(point.features, rule)


@solve_params.register(Coupling)
def solve_params_coupling(layer: Coupling, point: CouplingPoint, factored: Pinv, dy: Array) -> ParamsStep:
    D, AD, info = apply_pinv(factored, dy)
    return ParamsStep(CouplingParams(D), AD, info)


@layer_cost.register(Coupling)
def layer_cost_coupling(layer: Coupling, n: int) -> LayerCost:
    d2, h = layer.projection.shape
    product = 2.0 * n * d2 * h
    return LayerCost(
        forward=2 * product,
        tangent=2 * product,
        params=product,
        gram=float(n) * h * min(n, h + 1),
        half=layer.half,
        rows=h + 1,
        width=d2,
        features=h + 1,
        frozen=d2 * h,
        point=n * (2 * h + 1),
    )


def _point(layer: Coupling, u: Array) -> CouplingPoint:
    return CouplingPoint(*activate(u, layer.projection, partial(value_and_slope, layer.activation)))


def _push(layer: Coupling, params: CouplingParams, point: CouplingPoint, du: Array) -> Array:
    """Change of A(u) W with u: ((du C) * phi') Wb; the column of ones does not move."""
    return sandwich(du, layer.projection, point.slope, params.weight[:-1, :])
