"""Additive coupling: adds a feature map of one half of the input to the other half.

    y_i = x_i + A(x_j) W        y_j = x_j

The function u -> A(u) W is a feature map; see `revgn.layers.feature_map`. The maps of a coupling are computed
from the maps of its feature map.

Shapes: halves (n, d/2). Source: Buffelli et al. 2024, section 4. Their coupling changes both halves in turn;
the layer here changes one half.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from revgn import maps, trees
from revgn._dispatch import Generic, has_map
from revgn.arrays import Array, Backend, DType, ShapesOnly, draw_normal, select_backend
from revgn.cost import LayerCost, layer_cost, layer_costs
from revgn.errors import UsageError
from revgn.layers.activation import Activation
from revgn.layers.feature_map import FeatureMap
from revgn.layers.linear_features import LinearFeatures, linear_features
from revgn.layers.random_features import RandomFeatures
from revgn.maps import BegunParamsStep, Factored, Halves, Params, ParamsStep, Point


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """Additive coupling that changes `half` (0 or 1) by a feature map of the other half.

    The coupling has the parameters and the linearization point of its feature map.
    """

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
    """Return a coupling with `hidden` random features, its projection C drawn from N(0, 1/hidden).

    Parameters
    ----------
    half : {0, 1}
        Half that the coupling changes.
    width : int
        Columns d/2 of each half.
    hidden : int
        Hidden features h; C is (d/2, h).
    activation : {"relu", "identity", "tanh", "gelu", "linear"}
        "linear" gives the same map as "identity", through a factorization of C. It is faster where
        width < hidden, and requires width <= hidden.
    backend, dtype
        Array library with device, and dtype, of C. Default: NumPy and float64.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> layer = revgn.draw_coupling(0, 2, 8, rng)
    >>> layer.features.projection.shape
    (2, 8)
    """
    backend = backend or select_backend("numpy")
    draw = partial(draw_normal, rng, scale=hidden**-0.5, backend=backend, dtype=dtype or backend.xp.float64)
    C = draw((width, hidden))
    if activation != "linear":
        return Coupling(half, RandomFeatures(C, activation))
    if isinstance(rng, ShapesOnly):  # the factorization would take seconds for thousands of features
        return Coupling(half, LinearFeatures(C, draw((hidden, width)), draw((width, width))))
    return Coupling(half, linear_features(C))


def _forward_to_features(generic: Generic[Any, Any]) -> None:
    @generic.register(Coupling)
    def of_features(layer: Coupling, *arguments: Any) -> Any:
        return generic(layer.features, *arguments)


for _generic in (
    maps.init,
    maps.weight_forms,
    maps.to_matrices,
    maps.from_matrices,
    maps.positions,
    maps.row_features,
    maps.with_features,
    maps.rank_bound,
    maps.solved,
    maps.factor_params,
    maps.begin_factor_params,
):
    _forward_to_features(_generic)


@maps.forward.register(Coupling)
def forward_coupling(layer: Coupling, params: Params, x: Halves) -> Halves:
    maps.check_halves("forward", layer, x, layer.features.width)
    return maps.moved(layer.half, x, maps.forward(layer.features, params, x[1 - layer.half]))


@maps.inverse.register(Coupling)
def inverse_coupling(layer: Coupling, params: Params, y: Halves) -> Halves:
    maps.check_halves("inverse", layer, y, layer.features.width)
    return maps.moved_back(
        layer.half, y, maps.forward(layer.features, params, y[1 - layer.half])
    )  # y_j = x_j


@maps.linearize.register(Coupling)
def linearize_coupling(layer: Coupling, params: Params, x: Halves) -> tuple[Halves, Point]:
    maps.check_halves("linearize", layer, x, layer.features.width)
    step, point = maps.linearize(layer.features, params, x[1 - layer.half])
    return maps.moved(layer.half, x, step), point


@maps.linearize_inverse.register(Coupling)
def linearize_inverse_coupling(layer: Coupling, params: Params, y: Halves) -> tuple[Halves, Point]:
    maps.check_halves("linearize_inverse", layer, y, layer.features.width)
    step, point = maps.linearize(layer.features, params, y[1 - layer.half])
    return maps.moved_back(layer.half, y, step), point


@maps.jvp_input.register(Coupling)
def jvp_input_coupling(layer: Coupling, params: Params, point: Point, dx: Halves) -> Halves:
    return maps.moved(layer.half, dx, maps.jvp_input(layer.features, params, point, dx[1 - layer.half]))


@maps.jvp_params.register(Coupling)
def jvp_params_coupling(layer: Coupling, params: Params, point: Point, dparams: Params) -> Halves:
    return maps.alone(layer.half, maps.jvp_params(layer.features, params, point, dparams))


@maps.jvp_inverse.register(Coupling)
def jvp_inverse_coupling(layer: Coupling, params: Params, point: Point, dy: Halves) -> Halves:
    return maps.moved_back(layer.half, dy, maps.jvp_input(layer.features, params, point, dy[1 - layer.half]))


@maps.vjp_input.register(Coupling)
def vjp_input_coupling(layer: Coupling, params: Params, point: Point, y_bar: Halves) -> Halves:
    return maps.moved(1 - layer.half, y_bar, maps.vjp_input(layer.features, params, point, y_bar[layer.half]))


@maps.vjp_params.register(Coupling)
def vjp_params_coupling(layer: Coupling, params: Params, point: Point, y_bar: Halves) -> Params:
    return maps.vjp_params(layer.features, params, point, y_bar[layer.half])


@maps.jvp.register(Coupling)
def jvp_coupling(layer: Coupling, params: Params, point: Point, dx: Halves, dparams: Params) -> Halves:
    if not has_map(maps.jvp, type(layer.features)):
        own = jvp_params_coupling(layer, params, point, dparams)
        return trees.add(own, jvp_input_coupling(layer, params, point, dx))
    change = maps.jvp(layer.features, params, point, dx[1 - layer.half], dparams)
    return maps.moved(layer.half, dx, change)


@maps.vjp_rows.register(Coupling)
def vjp_rows_coupling(
    layer: Coupling, params: Params, point: Point, y_bar: Halves
) -> tuple[Halves, tuple[Array, ...]]:
    u_bar, rows = maps.vjp_rows(layer.features, params, point, y_bar[layer.half])
    return maps.moved(1 - layer.half, y_bar, u_bar), rows


@maps.vjp.register(Coupling)
def vjp_coupling(layer: Coupling, params: Params, point: Point, y_bar: Halves) -> tuple[Halves, Params]:
    u_bar, params_bar = maps.vjp(layer.features, params, point, y_bar[layer.half])
    return maps.moved(1 - layer.half, y_bar, u_bar), params_bar


@maps.row_cotangents.register(Coupling)
def row_cotangents_coupling(
    layer: Coupling, params: Params, point: Point, y_bar: Halves
) -> tuple[Array, ...]:
    return maps.row_cotangents(layer.features, params, point, y_bar[layer.half])


@maps.moved_halves.register(Coupling)
def moved_halves_coupling(layer: Coupling) -> tuple[int, ...]:
    return (layer.half,)


@maps.solve_params.register(Coupling)
def solve_params_coupling(layer: Coupling, point: Point, factored: Factored, dy: Halves) -> ParamsStep:
    D, realized, info = maps.solve_params(layer.features, point, factored, dy[layer.half])
    return ParamsStep(D, maps.alone(layer.half, realized), info)


@maps.begin_solve_params.register(Coupling)
def begin_solve_params_coupling(
    layer: Coupling, point: Point, factored: Factored, dy: Halves
) -> BegunParamsStep:
    D, realized, info = maps.begin_solve_params(layer.features, point, factored, dy[layer.half])
    return BegunParamsStep(D, maps.alone(layer.half, realized), info)


@layer_cost.register(Coupling)
def layer_cost_coupling(layer: Coupling, n: int) -> tuple[LayerCost, ...]:
    return tuple(each._replace(half=layer.half) for each in layer_costs(layer.features, n))
