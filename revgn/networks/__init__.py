"""Networks: chains of reversible layers, whose activations are kept or rebuilt, and the paper's networks."""

from revgn.networks.chain import Activations, Chain, ChainParams
from revgn.networks.frozen import frozen_arrays, with_frozen
from revgn.networks.network import Network, join, round_trip_error, split
from revgn.networks.reference import REFERENCE, Architecture, draw_network, parameter_count
from revgn.networks.replay import Trajectory, points_backward, points_forward, walk

__all__ = [
    "REFERENCE",
    "Activations",
    "Architecture",
    "Chain",
    "ChainParams",
    "Network",
    "Trajectory",
    "draw_network",
    "frozen_arrays",
    "join",
    "parameter_count",
    "points_backward",
    "points_forward",
    "round_trip_error",
    "split",
    "walk",
    "with_frozen",
]
