"""PyTorch modules of networks (extra `torch`)."""

from typing import Any

import numpy as np
import torch
from torch import nn

from revgn._dispatch import Struct, generic
from revgn.convert import modules
from revgn.convert.arrays import is_dense, to_arrays
from revgn.layers import Coupling, LinearFeatures, RandomFeatures, Readout, Squeeze
from revgn.layers.convolution import Convolution, FrozenConvolution
from revgn.networks import Chain, ChainParams, Network
from revgn.networks.stem import ImageStem, Padding


def module_of(network: Network, params: ChainParams) -> nn.Module:
    """Return the PyTorch module of a network with its arrays; see `revgn.convert.to_torch`."""
    arrays = to_arrays(network, params)
    module = to_module(network).to(torch.from_numpy(arrays["readout.linear.weight"][:0].copy()).dtype)
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return module


@generic
def to_module(layer: Struct) -> Any:  # type: ignore[empty-body]
    """Return the PyTorch module of a layer, stem or network, with weights drawn by PyTorch.

    For a chain, return the list of the modules of its layers. Frozen arrays have `requires_grad` False.
    """


@to_module.register(Network)
def to_module_network(network: Network) -> nn.Module:
    stem = network.stem or Padding(network.features, (network.features + 1) // 2)
    return modules.Reversible(to_module(stem), to_module(network.body), to_module(network.readout))


@to_module.register(Chain)
def to_module_chain(layer: Chain) -> list[nn.Module]:
    return [to_module(each) for each in layer.layers]


@to_module.register(Coupling)
def to_module_coupling(layer: Coupling) -> nn.Module:
    return modules.Coupling(layer.half, to_module(layer.features))


@to_module.register(RandomFeatures)
def to_module_random_features(layer: RandomFeatures) -> nn.Module:
    d2, h = layer.projection.shape
    return _with_frozen_hidden(modules.dense(d2, h, layer.activation))


@to_module.register(LinearFeatures)
def to_module_linear_features(layer: LinearFeatures) -> nn.Module:
    d2, h = layer.projection.shape
    return _with_frozen_hidden(modules.dense(d2, h, "identity"))


@to_module.register(Convolution)
def to_module_convolution(layer: Any) -> nn.Module:
    q, k = layer.grid.channels, layer.grid.kernel
    if is_dense(layer):
        found = modules.dense(q, layer.hidden, layer.activation)
    else:
        found = modules.convolution(q, layer.hidden, k, layer.activation)
    return _with_frozen_hidden(found) if isinstance(layer, FrozenConvolution) else found


@to_module.register(Squeeze)
def to_module_squeeze(layer: Squeeze) -> nn.Module:
    return modules.Squeeze(layer.factor)


@to_module.register(Readout)
def to_module_readout(layer: Readout) -> nn.Module:
    width, outputs = layer.first.shape
    return modules.Readout(width, outputs, pooled=layer.pixels > 1).requires_grad_(False)


@to_module.register(Padding)
def to_module_padding(stem: Padding) -> nn.Module:
    return modules.Split(stem.features, stem.width)


@to_module.register(ImageStem)
def to_module_image_stem(stem: ImageStem) -> nn.Module:
    f, grid = stem.factor, stem.grid
    shape, size = (stem.channels, stem.height, stem.width), (f * grid.height, f * grid.width)
    return modules.ImageStem(shape, size, grid.channels, f)


def _with_frozen_hidden(features: nn.Sequential) -> nn.Sequential:
    features.get_submodule("hidden").requires_grad_(False)
    return features
