"""Reversible network: splits the input into halves, applies a chain of couplings, and reads out the outputs.

    x (n, d)  --split-->  halves (n, d/2)  --chain-->  halves  --readout-->  z (n, c)

Each of the n samples is a flat vector of d features. If d is odd, one zero column is appended. The network
has the parameters of the chain.
"""

from dataclasses import dataclass

import numpy as np

from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError, UsageError
from revgn.layers import Readout, ReadoutParams, ReadoutPoint, lift
from revgn.maps import Halves, forward, init, inverse, jvp_input, jvp_params, linearize, vjp_input, vjp_params
from revgn.networks.chain import Chain, ChainParams
from revgn.networks.replay import Trajectory

_READ = (ReadoutParams(), ReadoutPoint())


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Reversible network with d = `features` inputs. Inputs must have the dtype of the frozen arrays."""

    features: int
    body: Chain
    readout: Readout


def split(x: Array) -> Halves:
    """Return the two halves of x (n, d). If d is odd, one zero column is appended to x."""
    d = x.shape[1]
    if d % 2:
        xp = array_namespace(x)
        zero = xp.zeros((x.shape[0], 1), dtype=x.dtype, device=x.device)
        x = xp.concat((x, zero), axis=1)
    return Halves(x[:, : (d + 1) // 2], x[:, (d + 1) // 2 :])


def join(halves: Halves, features: int) -> Array:
    """Return x (n, features) from its halves: the inverse of `split`."""
    return array_namespace(halves.first).concat(halves, axis=-1)[..., :features]


@init.register(Network)
def init_network(network: Network, rng: np.random.Generator, scale: float) -> ChainParams:
    return init(network.body, rng, scale)


@forward.register(Network)
def forward_network(network: Network, params: ChainParams, x: Array) -> Array:
    check_features("forward", network, x)
    z: Array = forward(network.readout, _READ[0], forward(network.body, params, split(x)))
    return z


@linearize.register(Network)
def linearize_network(network: Network, params: ChainParams, x: Array) -> tuple[Array, Trajectory]:
    check_features("linearize", network, x)
    y, point = linearize(network.body, params, split(x))
    return forward(network.readout, _READ[0], y), point


@jvp_input.register(Network)
def jvp_input_network(network: Network, params: ChainParams, point: Trajectory, dx: Array) -> Array:
    dz: Array = jvp_input(network.readout, *_READ, jvp_input(network.body, params, point, split(dx)))
    return dz


@jvp_params.register(Network)
def jvp_params_network(
    network: Network, params: ChainParams, point: Trajectory, dparams: ChainParams
) -> Array:
    dz: Array = jvp_input(network.readout, *_READ, jvp_params(network.body, params, point, dparams))
    return dz


@vjp_input.register(Network)
def vjp_input_network(network: Network, params: ChainParams, point: Trajectory, y_bar: Array) -> Array:
    return join(vjp_input(network.body, params, point, lift(network.readout, y_bar)), network.features)


@vjp_params.register(Network)
def vjp_params_network(network: Network, params: ChainParams, point: Trajectory, y_bar: Array) -> ChainParams:
    return vjp_params(network.body, params, point, lift(network.readout, y_bar))


def round_trip_error(network: Network, params: ChainParams, x: Array) -> Array:
    """Return |inverse(forward(x)) - x| / |x| for the chain, a 0-d array.

    It measures the rounding error of activations that are rebuilt with the inverse.
    """
    halves = split(x)
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
