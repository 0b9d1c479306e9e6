"""Arrays of a network under the names and in the layouts of its PyTorch module, and back.

    revgn                                   PyTorch
    C (d/2, h)                              hidden.weight (h, d/2)
    C (k k q, h)                            hidden.weight (h, q, k, k)
    W (h+1, q) = [Wb; bias]                 output.weight (q, h) or (q, h, 1, 1), output.bias (q,)
    U (2 q, c)                              readout.linear.weight (c, 2 q)

A layer type of your own takes part by registering `to_arrays`, `from_arrays` and `to_module`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, array_namespace, backend_of, to_host
from revgn.data.dataset import HostArray
from revgn.layers import (
    Coupling,
    CouplingParams,
    LinearFeatures,
    RandomFeatures,
    Readout,
    Squeeze,
    linear_features,
)
from revgn.layers.convolution import Convolution, FrozenConvolution, ProjectedParams, TrainedConvolution
from revgn.layers.feature_map import FrozenFeatures
from revgn.networks import Chain, Network

Arrays = Mapping[str, HostArray]


@generic
def to_arrays(layer: Struct, params: Any) -> dict[str, HostArray]:  # type: ignore[empty-body]
    """Return the frozen arrays and the parameters of a layer or network, as in its PyTorch module.

    Notes
    -----
    Law: from_arrays(layer, to_arrays(layer, params)) returns the same layer and parameters, bit by bit.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> layer = revgn.draw_coupling(0, 2, 8, rng)
    >>> found = to_arrays(layer, revgn.init(layer, rng, 0.1))
    >>> {name: array.shape for name, array in found.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'features.hidden.weight': (8, 2), 'features.output.weight': (2, 8), 'features.output.bias': (2,)}
    """


@generic
def from_arrays(layer: Struct, arrays: Arrays) -> tuple[Any, Any]:  # type: ignore[empty-body]
    """Return the layer with the given frozen arrays, and the parameters: the inverse of `to_arrays`.

    The arrays get the dtype and the device of the layer.
    """


@to_arrays.register(FrozenFeatures)
def to_arrays_features(layer: FrozenFeatures, params: CouplingParams) -> dict[str, HostArray]:
    W = to_host(params.weight)
    return {"hidden.weight": to_host(layer.projection).T, "output.weight": W[:-1].T, "output.bias": W[-1]}


@from_arrays.register(FrozenFeatures)
def from_arrays_features(layer: FrozenFeatures, arrays: Arrays) -> tuple[FrozenFeatures, CouplingParams]:
    C = _like(layer.projection, arrays["hidden.weight"].T)
    output = arrays["output.weight"].T
    W = _like(C, np.vstack([output, arrays["output.bias"]]))
    return _with_projection(layer, C), CouplingParams(W)


@generic
def _with_projection(layer: Struct, C: Array) -> Any:  # type: ignore[empty-body]
    """Return the features with another projection."""


@_with_projection.register(RandomFeatures)
def with_projection_random(layer: RandomFeatures, C: Array) -> RandomFeatures:
    return replace(layer, projection=C)


@_with_projection.register(LinearFeatures)
def with_projection_linear(layer: LinearFeatures, C: Array) -> LinearFeatures:
    same = bool(array_namespace(C).all(layer.projection == C))
    return layer if same else linear_features(C)


@to_arrays.register(Convolution)
def to_arrays_convolution(layer: Convolution, params: Any) -> dict[str, HostArray]:
    q, k = layer.grid.channels, layer.grid.kernel
    C = layer.projection if isinstance(layer, FrozenConvolution) else params.projection
    W, kernel = to_host(params.weight), to_host(C).reshape(k, k, q, -1).transpose(3, 2, 0, 1)
    if is_dense(layer):
        return {"hidden.weight": kernel[:, :, 0, 0], "output.weight": W[:-1].T, "output.bias": W[-1]}
    return {"hidden.weight": kernel, "output.weight": W[:-1].T[:, :, None, None], "output.bias": W[-1]}


@from_arrays.register(Convolution)
def from_arrays_convolution(layer: Any, arrays: Arrays) -> tuple[Any, Any]:
    q, k, h = layer.grid.channels, layer.grid.kernel, layer.hidden
    kernel = arrays["hidden.weight"].reshape(h, q, k, k)
    output = arrays["output.weight"].reshape(q, h).T
    like = layer.projection if isinstance(layer, FrozenConvolution) else layer.like
    C = _like(like, kernel.transpose(2, 3, 1, 0).reshape(k * k * q, h))
    W = _like(like, np.vstack([output, arrays["output.bias"]]))
    if isinstance(layer, TrainedConvolution):
        return layer, ProjectedParams(W, C)
    return replace(layer, projection=C), CouplingParams(W)


def is_dense(layer: Convolution) -> bool:
    """Return whether a convolution has images of one pixel: dense features with a trained projection."""
    return layer.grid[:2] == (1, 1) and layer.grid.kernel == 1


@to_arrays.register(Coupling)
def to_arrays_coupling(layer: Coupling, params: Any) -> dict[str, HostArray]:
    return _prefixed("features.", to_arrays(layer.features, params))


@from_arrays.register(Coupling)
def from_arrays_coupling(layer: Coupling, arrays: Arrays) -> tuple[Coupling, Any]:
    features, params = from_arrays(layer.features, _under("features.", arrays))
    return replace(layer, features=features), params


@to_arrays.register(Squeeze)
def to_arrays_squeeze(layer: Squeeze, params: Any) -> dict[str, HostArray]:
    return {}


@from_arrays.register(Squeeze)
def from_arrays_squeeze(layer: Squeeze, arrays: Arrays) -> tuple[Squeeze, tuple[()]]:
    return layer, ()


@to_arrays.register(Readout)
def to_arrays_readout(layer: Readout, params: Any) -> dict[str, HostArray]:
    return {"linear.weight": np.vstack([to_host(layer.first), to_host(layer.second)]).T}


@from_arrays.register(Readout)
def from_arrays_readout(layer: Readout, arrays: Arrays) -> tuple[Readout, tuple[()]]:
    q = layer.first.shape[0]
    U = arrays["linear.weight"].T
    return replace(layer, first=_like(layer.first, U[:q]), second=_like(layer.first, U[q:])), ()


@to_arrays.register(Chain)
def to_arrays_chain(layer: Chain, params: Any) -> dict[str, HostArray]:
    found: dict[str, HostArray] = {}
    for k, (each, of_each) in enumerate(zip(layer.layers, params, strict=True)):
        found |= _prefixed(f"{k}.", to_arrays(each, of_each))
    return found


@from_arrays.register(Chain)
def from_arrays_chain(layer: Chain, arrays: Arrays) -> tuple[Chain, Any]:
    found = [from_arrays(each, _under(f"{k}.", arrays)) for k, each in enumerate(layer.layers)]
    return replace(layer, layers=tuple(each for each, _ in found)), tuple(params for _, params in found)


@to_arrays.register(Network)
def to_arrays_network(network: Network, params: Any) -> dict[str, HostArray]:
    body = _prefixed("layers.", to_arrays(network.body, params))
    return body | _prefixed("readout.", to_arrays(network.readout, ()))


@from_arrays.register(Network)
def from_arrays_network(network: Network, arrays: Arrays) -> tuple[Network, Any]:
    body, params = from_arrays(network.body, _under("layers.", arrays))
    readout, _ = from_arrays(network.readout, _under("readout.", arrays))
    return replace(network, body=body, readout=readout), params


def _prefixed(prefix: str, arrays: Arrays) -> dict[str, HostArray]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _under(prefix: str, arrays: Arrays) -> dict[str, HostArray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _like(array: Array, values: HostArray) -> Array:
    """Return values as an array of the same library, device and dtype as `array`."""
    return backend_of(array).asarray(np.ascontiguousarray(values), dtype=array.dtype)
