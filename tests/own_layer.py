"""A layer written as a user would write one: both halves scaled by trained factors exp(s).

    y_i = x_i * exp(s_i)        dy_i/ds_i = y_i

A row of its Jacobian is no outer product of features and a cotangent, so that A is ones, and b the gradient
of a sample. It moves both halves, and is a block of its own.
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn.arrays import array_namespace
from revgn.linalg import PinvInfo
from revgn.maps import (
    Halves,
    ParamsStep,
    WeightForm,
    factor_params,
    forward,
    from_matrices,
    init,
    inverse,
    jvp_input,
    jvp_inverse,
    jvp_params,
    linearize,
    linearize_inverse,
    moved_halves,
    row_cotangents,
    row_features,
    solve_params,
    to_matrices,
    vjp_input,
    vjp_params,
    weight_forms,
    with_features,
)


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Scales halves of `width` features."""

    width: int


class ScalingParams(NamedTuple):
    """s (d/2), of either half."""

    first: object
    second: object


class ScalingPoint(NamedTuple):
    """The output, and ones (n, 1) for either half."""

    output: Halves
    rows: tuple


class ScalingFactor(NamedTuple):
    """Squares of the columns of y, damped."""

    squares: Halves
    info: PinvInfo


def times(x, params, sign):
    exp = array_namespace(x.first).exp
    return Halves(*(half * exp(sign * s) for half, s in zip(x, params, strict=True)))


def columns(point):
    """dy_i/ds_i, through the rows that the point has."""
    return Halves(*(A * y for A, y in zip(point.rows, point.output, strict=True)))


@init.register(Scaling)
def init_scaling(layer, rng, scale):
    return ScalingParams(*(scale * rng.standard_normal(layer.width) for _ in range(2)))


@forward.register(Scaling)
def forward_scaling(layer, params, x):
    return times(x, params, 1.0)


@inverse.register(Scaling)
def inverse_scaling(layer, params, y):
    return times(y, params, -1.0)


@linearize.register(Scaling)
def linearize_scaling(layer, params, x):
    y = times(x, params, 1.0)
    return y, point_at(y)


def point_at(y):
    return ScalingPoint(y, tuple(array_namespace(half).ones_like(half[:, :1]) for half in y))


@linearize_inverse.register(Scaling)
def linearize_inverse_scaling(layer, params, y):
    return times(y, params, -1.0), point_at(y)


@jvp_input.register(Scaling)
def jvp_input_scaling(layer, params, point, dx):
    return times(dx, params, 1.0)


@jvp_params.register(Scaling)
def jvp_params_scaling(layer, params, point, dparams):
    return Halves(*(y * ds for y, ds in zip(columns(point), dparams, strict=True)))


@jvp_inverse.register(Scaling)
def jvp_inverse_scaling(layer, params, point, dy):
    return times(dy, params, -1.0)


@vjp_input.register(Scaling)
def vjp_input_scaling(layer, params, point, y_bar):
    return times(y_bar, params, 1.0)


@vjp_params.register(Scaling)
def vjp_params_scaling(layer, params, point, y_bar):
    sums = (array_namespace(y).sum(y * bar, axis=0) for y, bar in zip(columns(point), y_bar, strict=True))
    return ScalingParams(*sums)


@weight_forms.register(Scaling)
def weight_forms_scaling(layer):
    return (WeightForm(1, layer.width, bias_rows=1),) * 2


@to_matrices.register(Scaling)
def to_matrices_scaling(layer, dparams):
    return tuple(s[None, :] for s in dparams)


@from_matrices.register(Scaling)
def from_matrices_scaling(layer, matrices):
    return ScalingParams(*(X[0, :] for X in matrices))


@row_features.register(Scaling)
def row_features_scaling(layer, point):
    return point.rows


@with_features.register(Scaling)
def with_features_scaling(layer, point, features):
    return ScalingPoint(point.output, features)


@row_cotangents.register(Scaling)
def row_cotangents_scaling(layer, params, point, y_bar):
    return tuple(y * bar for y, bar in zip(point.output, y_bar, strict=True))


@moved_halves.register(Scaling)
def moved_halves_scaling(layer):
    return (0, 1)


@factor_params.register(Scaling)
def factor_params_scaling(layer, point, rule):
    xp = array_namespace(point.output.first)
    squares = [xp.sum(y * y, axis=0) for y in columns(point)]
    largest, least = (float(of(xp.stack(squares))) for of in (xp.max, xp.min))
    mu = rule.damping * largest
    damped = Halves(*(xp.where(of > 0, of + mu, xp.ones_like(of)) for of in squares))
    rank = int(largest > 0)  # of a column y_j, a single vector
    return ScalingFactor(damped, PinvInfo("cholesky", 1, rank, largest**0.5, least**0.5, mu, 0.0))


@solve_params.register(Scaling)
def solve_params_scaling(layer, point, factored, dy):
    sums = vjp_params_scaling(layer, None, point, dy)
    D = ScalingParams(*(of / square for of, square in zip(sums, factored.squares, strict=True)))
    return ParamsStep(D, jvp_params_scaling(layer, None, point, D), factored.info)


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """Exchanges the halves; it has no parameters, and so no maps of them."""


@init.register(Swap)
def init_swap(layer, rng, scale):
    return ()


def swapped(layer, params, x):
    return Halves(x.second, x.first)


def swapped_at(layer, params, point, x):
    return Halves(x.second, x.first)


def swapped_with_point(layer, params, x):
    return Halves(x.second, x.first), ()


for one_way in (forward, inverse):
    one_way.register(Swap)(swapped)
for with_point in (linearize, linearize_inverse):
    with_point.register(Swap)(swapped_with_point)
for at_point in (jvp_input, jvp_inverse, vjp_input):
    at_point.register(Swap)(swapped_at)
