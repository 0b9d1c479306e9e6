"""Layers: one file each, its maps in the order of `revgn.maps`."""

from revgn.layers.activation import ACTIVATIONS, Activation
from revgn.layers.coupling import Coupling, CouplingParams, CouplingPoint, draw_coupling
from revgn.layers.linear_coupling import (
    LinearCoupling,
    LinearCouplingParams,
    LinearCouplingPoint,
    draw_linear_coupling,
    linear_coupling,
)
from revgn.layers.readout import Readout, ReadoutParams, ReadoutPoint, draw_readout, lift

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Coupling",
    "CouplingParams",
    "CouplingPoint",
    "LinearCoupling",
    "LinearCouplingParams",
    "LinearCouplingPoint",
    "Readout",
    "ReadoutParams",
    "ReadoutPoint",
    "draw_coupling",
    "draw_linear_coupling",
    "draw_readout",
    "lift",
    "linear_coupling",
]
