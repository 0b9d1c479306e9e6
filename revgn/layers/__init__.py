"""Layers, and the feature maps of couplings, one file each.

Each file defines its maps in the order in which `revgn.maps` lists them.
"""

from revgn.layers.activation import ACTIVATIONS, Activation
from revgn.layers.coupling import Coupling, draw_coupling
from revgn.layers.feature_map import CouplingParams, FeatureMap, FrozenFeatures
from revgn.layers.linear_features import LinearFeatures, linear_features
from revgn.layers.random_features import RandomFeatures, RandomFeaturesPoint
from revgn.layers.readout import Readout, ReadoutParams, ReadoutPoint, draw_readout, lift

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Coupling",
    "CouplingParams",
    "FeatureMap",
    "FrozenFeatures",
    "LinearFeatures",
    "RandomFeatures",
    "RandomFeaturesPoint",
    "Readout",
    "ReadoutParams",
    "ReadoutPoint",
    "draw_coupling",
    "draw_readout",
    "lift",
    "linear_features",
]
