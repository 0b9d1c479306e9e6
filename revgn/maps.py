"""The vocabulary: the maps of a layer, their contracts and their laws.

A layer is a frozen struct, hence part of the function; its trained parameters go in and come out. A
reversible layer takes and gives `Halves`; a network of them is a layer like any other. With y = f(x)
the layer's function, a dot a tangent and a bar a cotangent:

    forward             y = f(x)
    inverse             x = f^-1(y)
    linearize           y, and the point that all maps below take
    linearize_inverse   x, and the same point, from the output alone
    jvp_input           y' = df/dx x'
    jvp_params          y' = df/dW W'
    jvp_inverse         x' = (df/dx)^-1 y'
    vjp_input           xbar = (df/dx)^T ybar
    vjp_params          Wbar = (df/dW)^T ybar
    rank_bound          the largest rank that df/dW can have on one column of y
    gram_params         K with (df/dW) (df/dW)^T = K (x) I on the half that moves
    factor_params       the factored pseudoinverse of df/dW ...
    solve_params        ... and what it gives: W' = (df/dW)^+ y'

Implementations are found by the type of the first argument (`functools.singledispatch`); a type
without one raises `UnsupportedMapError`. Arrays keep their library, device and dtype through all maps.
`revgn.testing` holds the laws as functions, for any layer.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from revgn._dispatch import generic
from revgn.arrays import Array, add, subtract
from revgn.errors import ShapeError, UsageError
from revgn.linalg import Pinv, PinvInfo, PinvRule

Layer: TypeAlias = Any
Params: TypeAlias = Any
Point: TypeAlias = Any
Data: TypeAlias = Any  # Halves, or an array where a layer takes or gives one


class Halves(NamedTuple):
    """Two halves (n, d/2) of n samples with d features."""

    first: Array
    second: Array


class ParamsStep(NamedTuple):
    """A parameter change, the change (n, d/2) of the moving half that it realizes, and how it was found."""

    params: Params
    realized: Array
    info: PinvInfo


@generic
def init(layer: Layer, rng: np.random.Generator, scale: float) -> Params:
    """Draw parameters: weights N(0, scale^2), biases 0 (Buffelli et al. 2024: scale 1e-3).

    The layer's frozen arrays set dtype and device.
    """


@generic
def forward(layer: Layer, params: Params, x: Data) -> Data:
    """y = f(x).

    Raises
    ------
    ShapeError
        If x does not fit the layer.

    Notes
    -----
    Law: the same input gives the same bits; no argument is changed.
    """


@generic
def inverse(layer: Layer, params: Params, y: Data) -> Data:
    """x with f(x) = y.

    Notes
    -----
    Law: inverse(forward(x)) = x and forward(inverse(y)) = y, up to rounding.
    """


@generic
def linearize(layer: Layer, params: Params, x: Data) -> tuple[Data, Point]:
    """y = f(x), and the point: what tangents, cotangents and pseudoinverses at x need.

    Notes
    -----
    Law: the output equals that of `forward`, bit for bit.
    """


@generic
def linearize_inverse(layer: Layer, params: Params, y: Data) -> tuple[Data, Point]:
    """x with f(x) = y, and the point at x: `linearize` for one who kept only the output.

    Notes
    -----
    Law: the point equals that of `linearize` at x, up to the rounding of x.
    """


@generic
def jvp_input(layer: Layer, params: Params, point: Point, dx: Data) -> Data:
    """df/dx dx, the first-order change of the output when the input changes by dx.

    Notes
    -----
    Law: equals the derivative of `forward` along dx; linear in dx.
    """


@generic
def jvp_params(layer: Layer, params: Params, point: Point, dparams: Params) -> Data:
    """df/dW dW, the first-order change of the output when the parameters change by dparams.

    Notes
    -----
    Law: equals the derivative of `forward` along dparams; linear in dparams.
    """


@generic
def jvp_inverse(layer: Layer, params: Params, point: Point, dy: Data) -> Data:
    """(df/dx)^-1 dy, the input change that changes the output by dy, at the point of the input.

    Notes
    -----
    Law: jvp_inverse(jvp_input(dx)) = dx.
    """


@generic
def vjp_input(layer: Layer, params: Params, point: Point, y_bar: Data) -> Data:
    """(df/dx)^T y_bar.

    A cotangent may carry leading axes, (c, n, d/2) or (c, 1, d/2), for c cotangents a sample.

    Notes
    -----
    Law: <y_bar, jvp_input(dx)> = <vjp_input(y_bar), dx>.
    """


@generic
def vjp_params(layer: Layer, params: Params, point: Point, y_bar: Data) -> Params:
    """(df/dW)^T y_bar, summed over the samples.

    Notes
    -----
    Law: <y_bar, jvp_params(dparams)> = <vjp_params(y_bar), dparams>.
    """


@generic
def rank_bound(layer: Layer, point: Point) -> int:
    """Largest rank that K of `gram_params` can have: min(n, features). An own layer may do without.

    Notes
    -----
    Law: no smaller than the rank that `factor_params` finds.
    """


@generic
def gram_params(layer: Layer, point: Point) -> Array:
    """K (n, n) with (df/dW) (df/dW)^T = K (x) I on the half that moves: K = A A^T.

    Notes
    -----
    Law: jvp_params(vjp_params(y_bar)) = K y_bar on the moving half. Cost: n^2 h.
    """


@generic
def factor_params(layer: Layer, point: Point, rule: PinvRule) -> Pinv:
    """Factor the pseudoinverse of df/dW at `point`, for `solve_params`; its info has the rank.

    Notes
    -----
    Cost: n h min(n, h) for the Gram matrix, and its Cholesky factor.
    """


@generic
def solve_params(layer: Layer, point: Point, factored: Pinv, dy: Array) -> ParamsStep:
    """W' = (df/dW)^+ dy, with dy (n, d/2) wanted on the moving half.

    Among all parameter changes that come closest to dy to first order, the one of least norm;
    truncated or damped as the rule of `factored` says.

    Notes
    -----
    Law: the four Penrose identities; `realized` equals jvp_params of the step.
    """


def pinv_params(layer: Layer, point: Point, dy: Array, rule: PinvRule) -> ParamsStep:
    """(df/dW)^+ dy in one call: `solve_params` with `factor_params`."""
    return solve_params(layer, point, factor_params(layer, point, rule), dy)


def moved(half: int, x: Halves, step: Array) -> Halves:
    """x with `step` added to its half 0 or 1."""
    return replaced(half, x, add(x[half], step))


def moved_back(half: int, x: Halves, step: Array) -> Halves:
    """x with `step` taken from its half 0 or 1."""
    return replaced(half, x, subtract(x[half], step))


def replaced(half: int, x: Halves, array: Array) -> Halves:
    """x with `array` in place of its half 0 or 1."""
    return Halves(array, x.second) if half == 0 else Halves(x.first, array)


def check_half(layer: Layer) -> None:
    """Raise `UsageError` unless `layer` moves half 0 or 1."""
    if layer.half not in (0, 1):
        raise UsageError(f"{type(layer).__name__}: half is {layer.half!r}; expected 0 or 1")


def check_halves(name: str, layer: Layer, x: Halves, width: int) -> None:
    """Raise `ShapeError` unless x is two halves (..., n, width)."""
    if not isinstance(x, Halves):
        raise ShapeError(
            f"{name}({type(layer).__name__}): got {type(x).__name__}; expected Halves(first, second)"
        )
    for half, array in zip(x._fields, x, strict=True):
        if array.ndim < 2 or array.shape[-1] != width:
            raise ShapeError(
                f"{name}({type(layer).__name__}): {half} half has shape {array.shape}; "
                f"expected (n, {width}). Was the network built for d = {2 * width}?"
            )
