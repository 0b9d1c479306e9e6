"""The vocabulary: the maps of a layer, their contracts and their laws.

A layer is a frozen struct and part of the function; its trained parameters go in and come out. A reversible
layer takes and returns `Halves`; a chain or a network is a layer, and so is a feature map of a coupling. With
y = f(x), a dot for a tangent and a bar for a cotangent:

    init                parameters, drawn
    forward             y = f(x)
    inverse             x = f^-1(y)
    linearize           y, and the point that all maps below take
    linearize_inverse   x, and the same point, from the output alone
    jvp_input           y' = df/dx x'
    jvp_params          y' = df/dW W'
    jvp_inverse         x' = (df/dx)^-1 y'
    vjp_input           xbar = (df/dx)^T ybar
    vjp_params          Wbar = (df/dW)^T ybar

Solvers and optimizers see a layer's parameters as a tuple of matrices X_i, and a row of df/dW, the cotangent
ybar of one sample s pulled back to X_i, as an outer product a_s b_s^T:

    weight_forms        rows, columns and bias rows of each trained array as a matrix
    to_matrices         X = M W: the matrices of a parameter change; M M^T = I
    from_matrices       W = M^T X: the parameter change of least norm with these matrices
    row_features        A_i (n, m_i), the rows a_s
    with_features       the point whose parameters act through other rows than A_i
    row_cotangents      b_i (c, n, k_i) of cotangents ybar (c, n, ..)

The block step needs a pseudoinverse of df/dW for each layer:

    moved_halves        the halves that the parameters move
    rank_bound          the largest rank that df/dW can have on one column of y (optional)
    factor_params       the factored pseudoinverse of df/dW ...
    solve_params        ... and its application: W' = (df/dW)^+ y'
    begin_factor_params, begin_solve_params
                        the same, without a wait for the device (optional)

What needs which: the minimum-norm step (dense, tiled, CG) the first list with `row_features` and
`row_cotangents`; the block step the first and the last; K-FAC and the feature metric also `weight_forms`,
`to_matrices` and `from_matrices`, the metric `with_features`; Muon and orthogonalization `weight_forms`.

Examples are of a coupling that moves the first half of three samples with four features:

    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> layer = revgn.draw_coupling(0, 2, 8, rng)
    >>> params = revgn.init(layer, rng, 0.1)
    >>> x = revgn.Halves(*rng.standard_normal((2, 3, 2)))
    >>> y, point = revgn.linearize(layer, params, x)

Implementations are selected by the type of the first argument (`functools.singledispatch`); a type without
one raises `UnsupportedMapError`. Arrays keep their library, device and dtype through all maps.
`revgn.testing` holds the laws as functions, for any layer.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, Deferred, add, ready, subtract, zeros
from revgn.errors import ShapeError
from revgn.linalg import FactorInfo, PinvInfo, PinvRule
from revgn.trees import is_empty

Params: TypeAlias = tuple[Any, ...]  # nested tuples of arrays: see `revgn.trees`
Point: TypeAlias = Any  # opaque: only the layer that made a point reads it
Data: TypeAlias = Any  # Halves, or an array where a layer takes or returns one


class Layer(Struct, Protocol):
    """A frozen dataclass for which maps of this module are registered; its arrays are not trained."""


class Factored(Protocol):
    """A factored pseudoinverse of df/dW, of any layer."""

    @property
    def info(self) -> FactorInfo | PinvInfo:
        """Extreme singular values, and the rank on one column of y: n where every change is in reach."""


class Halves(NamedTuple):
    """Two halves (n, d/2) of n samples with d features."""

    first: Array
    second: Array


class WeightForm(NamedTuple):
    """A trained array as a matrix of `rows` features by `columns`, whose last `bias_rows` rows are biases."""

    rows: int
    columns: int
    bias_rows: int


class KernelPart(NamedTuple):
    """A part of the tangent kernel: Theta[(o,s),(p,t)] += <A_s, A_t> <b_os, b_pt>.

    The cotangents b are (c, n, k), or (c, 1, k) where they are the same for all samples.
    """

    features: Array  # A (n, m)
    cotangents: Array  # b


class ParamsStep(NamedTuple):
    """A parameter change, the change of the output that it realizes, and how it was found."""

    params: Params
    realized: Data
    info: PinvInfo


class BegunParamsStep(NamedTuple):
    """A `ParamsStep` that may not be right; `read` of its info then gives None."""

    params: Params
    realized: Data
    info: Deferred[PinvInfo | None]


@generic
def init(layer: Layer, rng: np.random.Generator, scale: float) -> Params:
    """Draw parameters: weights N(0, scale^2), biases 0 (Buffelli et al. 2024: scale 1e-3).

    The layer's frozen arrays set dtype and device.

    Examples
    --------
    >>> [W.shape for W in revgn.init(layer, rng, 0.1)]
    [(9, 2)]
    """


@generic
def forward(layer: Layer, params: Params, x: Data) -> Data:
    """y = f(x).

    Raises
    ------
    ShapeError
        If x does not fit the layer.
    UsageError
        If x is not of the network's dtype; nothing is converted.

    Notes
    -----
    Law: the same input gives the same bits; no argument is changed.

    Examples
    --------
    >>> y = revgn.forward(layer, params, x)
    >>> bool(np.all(y.second == x.second))  # the half that the coupling reads
    True
    """


@generic
def inverse(layer: Layer, params: Params, y: Data) -> Data:
    """x with f(x) = y.

    Notes
    -----
    Law: inverse(forward(x)) = x and forward(inverse(y)) = y, up to rounding.

    Examples
    --------
    >>> np.allclose(revgn.inverse(layer, params, y), x)
    True
    """


@generic
def linearize(layer: Layer, params: Params, x: Data) -> tuple[Data, Point]:
    """y = f(x), and the point: what tangents, cotangents and pseudoinverses at x need; raises as `forward`.

    Notes
    -----
    Law: the output equals that of `forward`, bit for bit.

    Examples
    --------
    >>> y, point = revgn.linearize(layer, params, x)
    >>> np.array_equal(y, revgn.forward(layer, params, x))
    True
    """


@generic
def linearize_inverse(layer: Layer, params: Params, y: Data) -> tuple[Data, Point]:
    """x with f(x) = y, and the point at x: `linearize` for one who kept only the output.

    Notes
    -----
    Law: the point equals that of `linearize` at x, up to the rounding of x.

    Examples
    --------
    >>> np.allclose(revgn.linearize_inverse(layer, params, y)[0], x)
    True
    """


@generic
def jvp_input(layer: Layer, params: Params, point: Point, dx: Data) -> Data:
    """df/dx dx, the first-order change of the output when the input changes by dx.

    Notes
    -----
    Law: equals the derivative of `forward` along dx; linear in dx.

    Examples
    --------
    >>> dy = revgn.jvp_input(layer, params, point, x)
    >>> np.allclose(revgn.jvp_inverse(layer, params, point, dy), x)
    True
    """


@generic
def jvp_params(layer: Layer, params: Params, point: Point, dparams: Params) -> Data:
    """df/dW dW, the first-order change of the output when the parameters change by dparams.

    Notes
    -----
    Law: equals the derivative of `forward` along dparams; linear in dparams.

    Examples
    --------
    >>> np.allclose(revgn.jvp_params(layer, params, point, params).first, y.first - x.first)  # linear in W
    True
    """


@generic
def jvp_inverse(layer: Layer, params: Params, point: Point, dy: Data) -> Data:
    """(df/dx)^-1 dy, the input change that changes the output by dy, at the point of the input.

    Notes
    -----
    Law: jvp_inverse(jvp_input(dx)) = dx.

    Examples
    --------
    >>> dx = revgn.jvp_inverse(layer, params, point, x)
    >>> np.allclose(revgn.jvp_input(layer, params, point, dx), x)
    True
    """


@generic
def vjp_input(layer: Layer, params: Params, point: Point, y_bar: Data) -> Data:
    """(df/dx)^T y_bar.

    A cotangent may carry leading axes, (c, n, d/2) or (c, 1, d/2), for c cotangents a sample.

    Notes
    -----
    Law: <y_bar, jvp_input(dx)> = <vjp_input(y_bar), dx>.

    Examples
    --------
    >>> x_bar, dy = revgn.vjp_input(layer, params, point, y), revgn.jvp_input(layer, params, point, x)
    >>> np.isclose(np.sum(np.multiply(y, dy)), np.sum(np.multiply(x_bar, x)))
    np.True_
    """


@generic
def vjp_params(layer: Layer, params: Params, point: Point, y_bar: Data) -> Params:
    """(df/dW)^T y_bar, summed over the samples.

    Notes
    -----
    Law: <y_bar, jvp_params(dparams)> = <vjp_params(y_bar), dparams>.

    Examples
    --------
    >>> W_bar = revgn.vjp_params(layer, params, point, y)
    >>> dy = revgn.jvp_params(layer, params, point, params)
    >>> np.isclose(np.sum(dy.first * y.first), np.sum(params[0] * W_bar[0]))
    np.True_
    """


@generic
def weight_forms(layer: Layer) -> tuple[WeightForm, ...]:
    """Shapes of the trained arrays as matrices, in the order of `trees.leaves`.

    Notes
    -----
    Law: `rows` times `columns` numbers in each array; one matrix of `to_matrices` for each.

    Examples
    --------
    >>> revgn.weight_forms(layer)
    (WeightForm(rows=9, columns=2, bias_rows=1),)
    """


@generic
def to_matrices(layer: Layer, dparams: Params) -> tuple[Array, ...]:
    """Matrices X_i (m_i, k_i) of a parameter change: all of it that changes the output.

    Notes
    -----
    Law: <ybar, jvp_params(dparams)> = sum_i <A_i^T b_i, X_i>, A_i of `row_features`, b_i of `row_cotangents`.

    Examples
    --------
    >>> [X.shape for X in revgn.to_matrices(layer, params)]
    [(9, 2)]
    """


@generic
def from_matrices(layer: Layer, matrices: tuple[Array, ...]) -> Params:
    """Parameter change of least norm whose matrices are X_i (m_i, k_i): the adjoint of `to_matrices`.

    Notes
    -----
    Law: to_matrices(from_matrices(X)) = X; vjp_params(ybar) = from_matrices(A_i^T b_i).

    Examples
    --------
    >>> np.array_equal(revgn.from_matrices(layer, revgn.to_matrices(layer, params)), params)
    True
    """


@generic
def row_features(layer: Layer, point: Point) -> tuple[Array, ...]:
    """A_i (n, m_i): the left factors of the rows of df/dW; ones (n, 1) where a row is no outer product.

    Examples
    --------
    >>> [A.shape for A in revgn.row_features(layer, point)]
    [(3, 9)]
    """


@generic
def with_features(layer: Layer, point: Point, features: tuple[Array, ...]) -> Point:
    """Point at which `row_features` are these, and parameters act through them; all else stays.

    Notes
    -----
    Law: with A_i R_i in place of A_i, jvp_params(from_matrices(X_i)) is jvp_params(from_matrices(R_i X_i)).

    Examples
    --------
    >>> (A,) = revgn.row_features(layer, point)
    >>> halved = revgn.with_features(layer, point, (A / 2,))
    >>> dy, smaller = (revgn.jvp_params(layer, params, at, params) for at in (point, halved))
    >>> np.allclose(smaller.first, dy.first / 2)
    True
    """


@generic
def row_cotangents(layer: Layer, params: Params, point: Point, y_bar: Data) -> tuple[Array, ...]:
    """b_i (c, n, k_i), or (c, 1, k_i): the right factors of the rows of df/dW.

    Parameters
    ----------
    y_bar : (c, n, ..), or (c, 1, ..) where all samples share it
        Cotangents of the output.

    Notes
    -----
    Law: see `kernel_parts`.

    Examples
    --------
    >>> of_five_outputs = revgn.Halves(*np.ones((2, 5, 3, 2)))
    >>> [b.shape for b in revgn.row_cotangents(layer, params, point, of_five_outputs)]
    [(5, 3, 2)]
    """


def kernel_parts(layer: Layer, params: Params, point: Point, y_bar: Data) -> tuple[KernelPart, ...]:
    """A layer's share of the tangent kernel of rows ybar, as a sum of parts; none without parameters.

    Notes
    -----
    Law: <(df/dW)^T ybar_os, (df/dW)^T ybar_pt> = sum_i <a_s, a_t> <b_os, b_pt>, where ybar_os is the
    cotangent ybar_o of sample s and 0 for all others.

    Examples
    --------
    >>> ones = revgn.Halves(*np.ones((2, 1, 3, 2)))
    >>> ((A, b),) = revgn.kernel_parts(layer, params, point, ones)
    >>> kernel = (A @ A.T) * (b[0] @ b[0].T)  # (n, n)
    >>> (W_bar,) = revgn.vjp_params(layer, params, point, revgn.Halves(*np.ones((2, 3, 2))))
    >>> np.isclose(kernel.sum(), np.sum(W_bar**2))
    np.True_
    """
    if is_empty(params):
        return ()
    parts = zip(row_features(layer, point), row_cotangents(layer, params, point, y_bar), strict=True)
    return tuple(KernelPart(A, b) for A, b in parts)


@generic
def moved_halves(layer: Layer) -> tuple[int, ...]:
    """Halves that the parameters move: (0,), (1,) or (0, 1). A layer without parameters need not have it.

    Notes
    -----
    Law: a layer that moves one half i is an additive coupling, y_i = x_i + g(x_j; W) and y_j = x_j.

    Examples
    --------
    >>> revgn.moved_halves(layer)
    (0,)
    """


@generic
def rank_bound(layer: Layer, point: Point) -> int:
    """Largest rank that `factor_params` can find: min(n, features). A layer may do without it."""


@generic
def factor_params(layer: Layer, point: Point, rule: PinvRule) -> Factored:
    """Factored pseudoinverse of df/dW, truncated and damped by `rule`; opaque but for its `info`.

    Examples
    --------
    >>> revgn.factor_params(layer, point, revgn.PinvRule()).info.rank  # of the rows of three samples
    3
    """


@generic
def solve_params(layer: Layer, point: Point, factored: Factored, dy: Data) -> ParamsStep:
    """(df/dW)^+ dy, and what it realizes.

    Among all parameter changes that come closest to dy to first order, the one of least norm;
    truncated or damped as the rule of `factored` says. Only the halves that move are read of dy.

    Notes
    -----
    Law: the four Penrose identities; `realized` equals jvp_params of the step.

    Examples
    --------
    >>> factored = revgn.factor_params(layer, point, revgn.PinvRule())
    >>> step = revgn.solve_params(layer, point, factored, y)
    >>> np.allclose(step.realized.first, y.first)  # all is in reach of nine features
    True
    """


@generic
def begin_factor_params(layer: Layer, point: Point, rule: PinvRule) -> Deferred[Factored]:
    """`factor_params` without a wait for the device, which a layer may do without.

    Notes
    -----
    Law: `read` of it is `factor_params`.
    """


@generic
def begin_solve_params(layer: Layer, point: Point, factored: Factored, dy: Data) -> BegunParamsStep:
    """`solve_params` without a wait for the device, which a layer may do without.

    Notes
    -----
    Law: the step of `solve_params` to rounding, unless `read` of its info gives None.
    """


@begin_factor_params.register(object)
def _factor_at_once(layer: Layer, point: Point, rule: PinvRule) -> Deferred[Factored]:
    return ready(factor_params(layer, point, rule))


@begin_solve_params.register(object)
def _solve_at_once(layer: Layer, point: Point, factored: Factored, dy: Data) -> BegunParamsStep:
    params, realized, info = solve_params(layer, point, factored, dy)
    return BegunParamsStep(params, realized, ready(info))


def pinv_params(layer: Layer, point: Point, dy: Data, rule: PinvRule) -> ParamsStep:
    """(df/dW)^+ dy in one call: `solve_params` with `factor_params`.

    Examples
    --------
    >>> step = revgn.pinv_params(layer, point, y, revgn.PinvRule())
    >>> np.allclose(revgn.jvp_params(layer, params, point, step.params).first, y.first)
    True
    """
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


def alone(half: int, array: Array) -> Halves:
    """Halves of `array` and zeros."""
    return replaced(half, Halves(*(zeros(array.shape, array),) * 2), array)


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
