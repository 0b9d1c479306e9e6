"""Layers, and the feature maps of couplings, one file each.

Each file defines its maps in the order in which `revgn.maps` lists them.
"""

import revgn.layers.convolution_rows  # noqa: F401  # registers the other maps of convolutions
from revgn.layers.activation import ACTIVATIONS, Activation
from revgn.layers.convolution import (
    FrozenConvolution,
    ProjectedParams,
    TrainedConvolution,
    draw_convolution,
    trained_features,
)
from revgn.layers.coupling import Coupling, draw_coupling
from revgn.layers.feature_map import CouplingParams, FeatureMap, FrozenFeatures
from revgn.layers.linear_features import LinearFeatures, linear_features
from revgn.layers.random_features import RandomFeatures, RandomFeaturesPoint
from revgn.layers.readout import Readout, ReadoutParams, ReadoutPoint, draw_readout, lift, spread
from revgn.layers.squeeze import Squeeze

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Coupling",
    "CouplingParams",
    "FeatureMap",
    "FrozenConvolution",
    "FrozenFeatures",
    "LinearFeatures",
    "ProjectedParams",
    "RandomFeatures",
    "RandomFeaturesPoint",
    "Readout",
    "ReadoutParams",
    "ReadoutPoint",
    "Squeeze",
    "TrainedConvolution",
    "draw_convolution",
    "draw_coupling",
    "draw_readout",
    "lift",
    "linear_features",
    "spread",
    "trained_features",
]
