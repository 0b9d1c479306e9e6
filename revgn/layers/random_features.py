"""Random features: a frozen random projection, followed by an activation function.

    A(u) = [phi(u C), 1]        C ~ N(0, 1/h) frozen

Shapes: u (n, d/2), C (d/2, h), A (n, h+1), phi' (n, h), W (h+1, d/2). The last row of W is the bias; Wb is W
without it. Source: Buffelli et al. 2024, section 4.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from revgn import maps
from revgn.arrays import Array, activate, matmul, sandwich
from revgn.cost import LayerCost, layer_cost
from revgn.layers.activation import Activation, value_and_slope
from revgn.layers.feature_map import CouplingParams, FrozenFeatures


@dataclass(frozen=True, slots=True, eq=False)
class RandomFeatures(FrozenFeatures):
    """Features phi(u C) and a column of ones."""

    activation: Activation = "relu"


class RandomFeaturesPoint(NamedTuple):
    """Features A and slopes phi' at u. The slopes are boolean for relu."""

    features: Array
    slope: Array


@maps.forward.register(RandomFeatures)
def forward_random_features(of: RandomFeatures, params: CouplingParams, u: Array) -> Array:
    return linearize_random_features(of, params, u)[0]


@maps.linearize.register(RandomFeatures)
def linearize_random_features(
    of: RandomFeatures, params: CouplingParams, u: Array
) -> tuple[Array, RandomFeaturesPoint]:
    point = RandomFeaturesPoint(*activate(u, of.projection, partial(value_and_slope, of.activation)))
    return matmul(point.features, params.weight), point


@maps.jvp_input.register(RandomFeatures)
def jvp_input_random_features(
    of: RandomFeatures, params: CouplingParams, point: RandomFeaturesPoint, du: Array
) -> Array:
    """Return ((du C) * phi') Wb. The column of ones does not depend on u."""
    return sandwich(du, of.projection, point.slope, params.weight[:-1, :])


@maps.vjp_input.register(RandomFeatures)
def vjp_input_random_features(
    of: RandomFeatures, params: CouplingParams, point: RandomFeaturesPoint, b: Array
) -> Array:
    """Return ((b Wb^T) * phi') C^T."""
    return sandwich(b, params.weight[:-1, :].T, point.slope, of.projection.T)


@layer_cost.register(RandomFeatures)
def layer_cost_random_features(of: RandomFeatures, n: int) -> LayerCost:
    d2, h = of.projection.shape
    product = 2.0 * n * d2 * h
    return LayerCost(
        forward=2 * product,
        tangent=2 * product,
        params=product,
        gram=float(n) * h * min(n, h + 1),
        half=0,
        rows=h + 1,
        width=d2,
        features=h + 1,
        frozen=d2 * h,
        point=n * (2 * h + 1),
    )
