"""Additive coupling: one half moves by features of the other half.

    y_i = x_i + A(x_j) W        y_j = x_j

A(u) W is a feature map: see `revgn.layers.feature_map`. All maps of a coupling follow from its maps.

Shapes: halves (n, d/2). Source: Buffelli et al. 2024, section 4, with the half-coupling as the layer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from revgn.arrays import Array, Backend, DType, draw_normal, select_backend
from revgn.cost import LayerCost, layer_cost
from revgn.errors import UsageError
from revgn.layers.activation import Activation
from revgn.layers.feature_map import FeatureMap
from revgn.layers.linear_features import linear_features
from revgn.layers.random_features import RandomFeatures
from revgn.linalg import PinvRule
from revgn.maps import (
    Factored,
    Halves,
    Params,
    ParamsStep,
    Point,
    WeightForm,
    alone,
    check_halves,
    factor_params,
    forward,
    from_matrices,
    init,
    inverse,
    jvp_input,
    jvp_inverse,
    jvp_params,
    linearize,
    linearize_inverse,
    moved,
    moved_back,
    moved_halves,
    rank_bound,
    row_cotangents,
    row_features,
    solve_params,
    to_matrices,
    vjp_input,
    vjp_params,
    weight_forms,
    with_features,
)


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """Moves `half` by features of the other half; its parameters and points are those of the feature map."""

    half: Literal[0, 1]
    features: FeatureMap

    def __post_init__(self) -> None:
        if self.half not in (0, 1):
            raise UsageError(f"{type(self).__name__}: half is {self.half!r}; expected 0 or 1")


def draw_coupling(
    half: Literal[0, 1],
    width: int,
    hidden: int,
    rng: np.random.Generator,
    *,
    activation: Activation | Literal["linear"] = "relu",
    backend: Backend | None = None,
    dtype: DType = None,
) -> Coupling:
    """Coupling of halves of `width` features by `hidden` features, with C drawn N(0, 1/hidden).

    Parameters
    ----------
    activation : {"relu", "identity", "tanh", "gelu", "linear"}
        "linear" is the identity factored through its input: the same map, faster where width < hidden.
    backend, dtype
        Library, device and dtype of C; NumPy and float64 unless given.
    """
    backend = backend or select_backend("numpy")
    C = draw_normal(rng, (width, hidden), hidden**-0.5, backend, dtype or backend.xp.float64)
    return Coupling(half, linear_features(C) if activation == "linear" else RandomFeatures(C, activation))


@init.register(Coupling)
def init_coupling(layer: Coupling, rng: np.random.Generator, scale: float) -> Params:
    return init(layer.features, rng, scale)


@forward.register(Coupling)
def forward_coupling(layer: Coupling, params: Params, x: Halves) -> Halves:
    check_halves("forward", layer, x, layer.features.width)
    return moved(layer.half, x, forward(layer.features, params, x[1 - layer.half]))


@inverse.register(Coupling)
def inverse_coupling(layer: Coupling, params: Params, y: Halves) -> Halves:
    check_halves("inverse", layer, y, layer.features.width)
    return moved_back(layer.half, y, forward(layer.features, params, y[1 - layer.half]))  # y_j = x_j


@linearize.register(Coupling)
def linearize_coupling(layer: Coupling, params: Params, x: Halves) -> tuple[Halves, Point]:
    check_halves("linearize", layer, x, layer.features.width)
    step, point = linearize(layer.features, params, x[1 - layer.half])
    return moved(layer.half, x, step), point


@linearize_inverse.register(Coupling)
def linearize_inverse_coupling(layer: Coupling, params: Params, y: Halves) -> tuple[Halves, Point]:
    check_halves("linearize_inverse", layer, y, layer.features.width)
    step, point = linearize(layer.features, params, y[1 - layer.half])
    return moved_back(layer.half, y, step), point


@jvp_input.register(Coupling)
def jvp_input_coupling(layer: Coupling, params: Params, point: Point, dx: Halves) -> Halves:
    return moved(layer.half, dx, jvp_input(layer.features, params, point, dx[1 - layer.half]))


@jvp_params.register(Coupling)
def jvp_params_coupling(layer: Coupling, params: Params, point: Point, dparams: Params) -> Halves:
    return alone(layer.half, jvp_params(layer.features, params, point, dparams))


@jvp_inverse.register(Coupling)
def jvp_inverse_coupling(layer: Coupling, params: Params, point: Point, dy: Halves) -> Halves:
    return moved_back(layer.half, dy, jvp_input(layer.features, params, point, dy[1 - layer.half]))


@vjp_input.register(Coupling)
def vjp_input_coupling(layer: Coupling, params: Params, point: Point, y_bar: Halves) -> Halves:
    return moved(1 - layer.half, y_bar, vjp_input(layer.features, params, point, y_bar[layer.half]))


@vjp_params.register(Coupling)
def vjp_params_coupling(layer: Coupling, params: Params, point: Point, y_bar: Halves) -> Params:
    return vjp_params(layer.features, params, point, y_bar[layer.half])


@weight_forms.register(Coupling)
def weight_forms_coupling(layer: Coupling) -> tuple[WeightForm, ...]:
    return weight_forms(layer.features)


@to_matrices.register(Coupling)
def to_matrices_coupling(layer: Coupling, dparams: Params) -> tuple[Array, ...]:
    return to_matrices(layer.features, dparams)


@from_matrices.register(Coupling)
def from_matrices_coupling(layer: Coupling, matrices: tuple[Array, ...]) -> Params:
    return from_matrices(layer.features, matrices)


@row_features.register(Coupling)
def row_features_coupling(layer: Coupling, point: Point) -> tuple[Array, ...]:
    return row_features(layer.features, point)


@with_features.register(Coupling)
def with_features_coupling(layer: Coupling, point: Point, features: tuple[Array, ...]) -> Point:
    return with_features(layer.features, point, features)


@row_cotangents.register(Coupling)
def row_cotangents_coupling(
    layer: Coupling, params: Params, point: Point, y_bar: Halves
) -> tuple[Array, ...]:
    return row_cotangents(layer.features, params, point, y_bar[layer.half])


@moved_halves.register(Coupling)
def moved_halves_coupling(layer: Coupling) -> tuple[int, ...]:
    return (layer.half,)


@rank_bound.register(Coupling)
def rank_bound_coupling(layer: Coupling, point: Point) -> int:
    return rank_bound(layer.features, point)


@factor_params.register(Coupling)
def factor_params_coupling(layer: Coupling, point: Point, rule: PinvRule) -> Factored:
    return factor_params(layer.features, point, rule)


@solve_params.register(Coupling)
def solve_params_coupling(layer: Coupling, point: Point, factored: Factored, dy: Halves) -> ParamsStep:
    D, realized, info = solve_params(layer.features, point, factored, dy[layer.half])
    return ParamsStep(D, alone(layer.half, realized), info)


@layer_cost.register(Coupling)
def layer_cost_coupling(layer: Coupling, n: int) -> LayerCost:
    return layer_cost(layer.features, n)._replace(half=layer.half)
