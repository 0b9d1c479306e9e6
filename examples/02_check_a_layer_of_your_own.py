# %% [markdown]
# A layer is a frozen struct and a function for each map that it has, registered by its type. Here: a layer
# that scales both halves by trained factors exp(s). The laws of `revgn.testing` then say whether the maps
# fit each other.

# %%
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import revgn
from revgn import Halves, testing


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    width: int


class ScalingParams(NamedTuple):
    first: np.ndarray  # s (d/2)
    second: np.ndarray


@revgn.forward.register(Scaling)
def forward_scaling(layer, params, x):
    return Halves(x.first * np.exp(params.first), x.second * np.exp(params.second))


@revgn.inverse.register(Scaling)
def inverse_scaling(layer, params, y):
    return Halves(y.first * np.exp(-params.first), y.second * np.exp(-params.second))


@revgn.linearize.register(Scaling)
def linearize_scaling(layer, params, x):
    y = forward_scaling(layer, params, x)
    return y, y  # the output is all that the tangents need


@revgn.jvp_input.register(Scaling)
def jvp_input_scaling(layer, params, point, dx):
    return forward_scaling(layer, params, dx)


@revgn.jvp_params.register(Scaling)
def jvp_params_scaling(layer, params, point, dparams):
    return Halves(point.first * dparams.first, point.second * dparams.second)


@revgn.vjp_input.register(Scaling)
def vjp_input_scaling(layer, params, point, y_bar):
    return forward_scaling(layer, params, y_bar)


@revgn.vjp_params.register(Scaling)
def vjp_params_scaling(layer, params, point, y_bar):
    return ScalingParams((point.first * y_bar.first).sum(0), (point.second * y_bar.second).sum(0))


# %%
rng = np.random.default_rng(0)
params = ScalingParams(rng.standard_normal(4), rng.standard_normal(4))
x = Halves(rng.standard_normal((6, 4)), rng.standard_normal((6, 4)))
testing.check_layer(Scaling(4), params, x)
print("all laws hold:", ", ".join(testing.laws_of(Scaling)))
