"""Networks: chains of reversible layers, whose activations are kept or rebuilt, and the paper's networks."""

from revgn.networks.chain import Activations, Chain, ChainParams
from revgn.networks.convolutional import Convolutional
from revgn.networks.frozen import frozen_arrays, with_frozen
from revgn.networks.network import Network, round_trip_error
from revgn.networks.reference import REFERENCE, Architecture, draw_network
from revgn.networks.replay import Trajectory, points_backward, points_forward, walk
from revgn.networks.stem import ImageStem, Padding, from_halves, join, split, to_halves

__all__ = [
    "REFERENCE",
    "Activations",
    "Architecture",
    "Chain",
    "ChainParams",
    "Convolutional",
    "ImageStem",
    "Network",
    "Padding",
    "Trajectory",
    "draw_network",
    "from_halves",
    "frozen_arrays",
    "join",
    "points_backward",
    "points_forward",
    "round_trip_error",
    "split",
    "to_halves",
    "walk",
    "with_frozen",
]
