"""Chain of reversible layers. A chain is itself a reversible layer.

The parameters of a chain are the tuple of the parameters of its layers. For layers f_0, ..., f_(m-1), where
layer k has parameters W_k, the chain and its change with the parameters are

    f = f_(m-1) o ... o f_0
    df = sum over k of  df_(m-1)/dx ... df_(k+1)/dx df_k/dW dW_k
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from revgn import maps, trees
from revgn.errors import ShapeError
from revgn.maps import Halves, Layer, Params
from revgn.networks.replay import Trajectory, points_backward, points_forward, walk

Activations = Literal["keep", "rebuild"]
ChainParams = tuple[Params, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Layers applied one after the other.

    `linearize` stores the linearization points of all layers if `activations` is "keep". If it is "rebuild",
    `linearize` stores only input and output, and later maps recompute the points.
    """

    layers: tuple[Layer, ...]
    activations: Activations = "keep"


@maps.init.register(Chain)
def init_chain(chain: Chain, rng: np.random.Generator, scale: float) -> ChainParams:
    return tuple(maps.init(layer, rng, scale) for layer in chain.layers)


@maps.forward.register(Chain)
def forward_chain(chain: Chain, params: ChainParams, x: Halves) -> Halves:
    check_depth("forward", chain, params)
    for layer, layer_params in zip(chain.layers, params, strict=True):
        x = maps.forward(layer, layer_params, x)
    return x


@maps.inverse.register(Chain)
def inverse_chain(chain: Chain, params: ChainParams, y: Halves) -> Halves:
    check_depth("inverse", chain, params)
    for layer, layer_params in zip(reversed(chain.layers), reversed(params), strict=True):
        y = maps.inverse(layer, layer_params, y)
    return y


@maps.linearize.register(Chain)
def linearize_chain(chain: Chain, params: ChainParams, x: Halves) -> tuple[Halves, Trajectory]:
    check_depth("linearize", chain, params)
    trajectory = walk(chain.layers, params, x, keep=chain.activations == "keep")
    return trajectory.output, trajectory


@maps.linearize_inverse.register(Chain)
def linearize_inverse_chain(chain: Chain, params: ChainParams, y: Halves) -> tuple[Halves, Trajectory]:
    x = inverse_chain(chain, params, y)
    return x, linearize_chain(chain, params, x)[1]


@maps.jvp_input.register(Chain)
def jvp_input_chain(chain: Chain, params: ChainParams, point: Trajectory, dx: Halves) -> Halves:
    points = points_forward(chain.layers, params, point)
    for layer, layer_params, at in zip(chain.layers, params, points, strict=True):
        dx = maps.jvp_input(layer, layer_params, at, dx)
    return dx


@maps.jvp_params.register(Chain)
def jvp_params_chain(chain: Chain, params: ChainParams, point: Trajectory, dparams: ChainParams) -> Halves:
    check_depth("jvp_params", chain, dparams)
    dx: Halves | None = None  # None instead of zeros: the input does not change
    points = points_forward(chain.layers, params, point)
    for layer, layer_params, dlayer, at in zip(chain.layers, params, dparams, points, strict=True):
        if trees.is_empty(dlayer):
            dx = None if dx is None else maps.jvp_input(layer, layer_params, at, dx)
        elif dx is None:
            dx = maps.jvp_params(layer, layer_params, at, dlayer)
        else:
            dx = maps.jvp(layer, layer_params, at, dx, dlayer)
    return trees.zeros_like(point.input) if dx is None else dx


@maps.jvp_inverse.register(Chain)
def jvp_inverse_chain(chain: Chain, params: ChainParams, point: Trajectory, dy: Halves) -> Halves:
    for layer, layer_params, at in _backward(chain, params, point):
        dy = maps.jvp_inverse(layer, layer_params, at, dy)
    return dy


@maps.vjp_input.register(Chain)
def vjp_input_chain(chain: Chain, params: ChainParams, point: Trajectory, y_bar: Halves) -> Halves:
    for layer, layer_params, at in _backward(chain, params, point):
        y_bar = maps.vjp_input(layer, layer_params, at, y_bar)
    return y_bar


@maps.vjp_params.register(Chain)
def vjp_params_chain(chain: Chain, params: ChainParams, point: Trajectory, y_bar: Halves) -> ChainParams:
    params_bar: list[Params] = []
    for layer, layer_params, at in _backward(chain, params, point):
        is_fixed, is_first = trees.is_empty(layer_params), len(params_bar) == len(chain.layers) - 1
        own = layer_params
        if is_first:  # the chain's input needs no cotangent
            own = own if is_fixed else maps.vjp_params(layer, layer_params, at, y_bar)
        elif is_fixed:
            y_bar = maps.vjp_input(layer, layer_params, at, y_bar)
        else:
            y_bar, own = maps.vjp(layer, layer_params, at, y_bar)
        params_bar.append(own)
    return tuple(reversed(params_bar))


def check_depth(name: str, chain: Chain, params: ChainParams) -> None:
    """Raise `ShapeError` unless `params` has one entry for each layer."""
    if len(params) != len(chain.layers):
        raise ShapeError(
            f"{name}(Chain): got parameters for {len(params)} layers; "
            f"expected {len(chain.layers)}, one entry for each layer of the chain"
        )


def _backward(chain: Chain, params: ChainParams, point: Trajectory):  # type: ignore[no-untyped-def]
    points = points_backward(chain.layers, params, point)
    return zip(reversed(chain.layers), reversed(params), points, strict=True)
