"""Reversible network: splits the input into halves, applies a chain of couplings, and reads out the outputs.

    x (n, d)  --stem-->  halves (n, d/2)  --chain-->  halves  --readout-->  z (n, c)

Each of the n samples is a flat vector of d features. The stem splits it into halves; if d is odd, one zero
column is appended (see `revgn.networks.stem`). The network has the parameters of the chain.
"""

from dataclasses import dataclass

import numpy as np

from revgn._dispatch import Struct
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError, UsageError
from revgn.layers import Readout, ReadoutParams, ReadoutPoint
from revgn.maps import Halves, forward, init, inverse, jvp_input, jvp_params, linearize, vjp_input, vjp_params
from revgn.networks.chain import Chain, ChainParams
from revgn.networks.replay import Trajectory
from revgn.networks.stem import from_halves, join, split, to_halves

_READ = (ReadoutParams(), ReadoutPoint())


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Reversible network with d = `features` inputs. Inputs must have the dtype of the frozen arrays.

    The `stem` splits the inputs into halves, and may pad them with zeros; by default, `split` does.
    """

    features: int
    body: Chain
    readout: Readout
    stem: Struct | None = None


@to_halves.register(Network)
def to_halves_network(network: Network, x: Array) -> Halves:
    return split(x) if network.stem is None else to_halves(network.stem, x)


@from_halves.register(Network)
def from_halves_network(network: Network, halves: Halves) -> Array:
    return join(halves, network.features) if network.stem is None else from_halves(network.stem, halves)


@init.register(Network)
def init_network(network: Network, rng: np.random.Generator, scale: float) -> ChainParams:
    return init(network.body, rng, scale)


@forward.register(Network)
def forward_network(network: Network, params: ChainParams, x: Array) -> Array:
    check_features("forward", network, x)
    z: Array = forward(network.readout, _READ[0], forward(network.body, params, to_halves(network, x)))
    return z


@linearize.register(Network)
def linearize_network(network: Network, params: ChainParams, x: Array) -> tuple[Array, Trajectory]:
    check_features("linearize", network, x)
    y, point = linearize(network.body, params, to_halves(network, x))
    return forward(network.readout, _READ[0], y), point


@jvp_input.register(Network)
def jvp_input_network(network: Network, params: ChainParams, point: Trajectory, dx: Array) -> Array:
    halves = to_halves(network, dx)
    dz: Array = jvp_input(network.readout, *_READ, jvp_input(network.body, params, point, halves))
    return dz


@jvp_params.register(Network)
def jvp_params_network(
    network: Network, params: ChainParams, point: Trajectory, dparams: ChainParams
) -> Array:
    dz: Array = jvp_input(network.readout, *_READ, jvp_params(network.body, params, point, dparams))
    return dz


@vjp_input.register(Network)
def vjp_input_network(network: Network, params: ChainParams, point: Trajectory, y_bar: Array) -> Array:
    halves = vjp_input(network.readout, *_READ, y_bar)
    return from_halves(network, vjp_input(network.body, params, point, halves))


@vjp_params.register(Network)
def vjp_params_network(network: Network, params: ChainParams, point: Trajectory, y_bar: Array) -> ChainParams:
    return vjp_params(network.body, params, point, vjp_input(network.readout, *_READ, y_bar))


def round_trip_error(network: Network, params: ChainParams, x: Array) -> Array:
    """Return |inverse(forward(x)) - x| / |x| for the chain, a 0-d array.

    It measures the rounding error of activations that are rebuilt with the inverse.
    """
    halves = to_halves(network, x)
    back = inverse(network.body, params, forward(network.body, params, halves))
    xp = array_namespace(x)
    missed = sum(xp.sum((b - h) ** 2) for b, h in zip(back, halves, strict=True))
    return (missed / xp.sum(x * x)) ** 0.5


def check_features(name: str, network: Network, x: Array) -> None:
    """Raise `ShapeError` unless x is (n, d), and `UsageError` unless x has the network's dtype."""
    if x.ndim != 2 or x.shape[1] != network.features or not x.shape[0]:
        raise ShapeError(
            f"{name}(Network): x has shape {x.shape}; expected (n, {network.features}) with n >= 1"
        )
    if x.dtype != network.readout.first.dtype:
        raise UsageError(
            f"{name}(Network): x has dtype {x.dtype}, but the network has {network.readout.first.dtype}; "
            "convert x, or draw the network with the dtype of x"
        )
