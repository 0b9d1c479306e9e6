"""Squared error: the mean over samples of |z - t|^2.

gradient  2 (z - t) / n        curvature 2 I        eps = z - t
"""

from dataclasses import dataclass

from revgn.arrays import Array, array_namespace
from revgn.losses.loss import check_outputs, gradient, output_step, value


@dataclass(frozen=True, slots=True)
class SquaredError:
    """Mean over samples of the squared distance between outputs and target."""


@value.register(SquaredError)
def value_squared_error(loss: SquaredError, z: Array, t: Array) -> Array:
    check_outputs("value", loss, z, t)
    return array_namespace(z, t).sum((z - t) ** 2) / z.shape[0]


@gradient.register(SquaredError)
def gradient_squared_error(loss: SquaredError, z: Array, t: Array) -> Array:
    check_outputs("gradient", loss, z, t)
    return (2.0 / z.shape[0]) * (z - t)


@output_step.register(SquaredError)
def output_step_squared_error(loss: SquaredError, z: Array, t: Array) -> Array:
    check_outputs("output_step", loss, z, t)
    return z - t
