"""The maps of a layer: their contracts and laws.

A layer f is a frozen struct. Its own arrays are fixed; its trained parameters W are arguments and results of
the maps. A reversible layer takes and returns `Halves`. A chain, a network and a feature map of a coupling
are layers, too. With y = f(x), a prime for a tangent and a bar for a cotangent:

    init                initial parameters, drawn at random
    forward             y = f(x)
    inverse             x = f^-1(y)
    linearize           y, and the point: the data at x that all maps below take
    linearize_inverse   x, and the point, from the output y alone
    jvp_input           y' = df/dx x'
    jvp_params          y' = df/dW W'
    jvp_inverse         x' = (df/dx)^-1 y'
    vjp_input           xbar = (df/dx)^T ybar
    vjp_params          Wbar = (df/dW)^T ybar
    jvp                 df/dx x' + df/dW W' (optional; by default with the maps above)
    vjp                 (df/dx)^T ybar and (df/dW)^T ybar (optional)
    vjp_rows            the same, with the rows of each sample (optional)

Solvers and optimizers treat the parameters of a layer as a tuple of matrices X_i. A row of df/dW is the
cotangent ybar of one sample s, pulled back to X_i. It is a sum of outer products over the P positions at
which the layer applies its weights, sum_p a_sp b_sp^T. A dense layer has one position, so that the row is
a_s b_s^T; a convolution has one for each pixel:

    weight_forms        rows, columns and bias rows of each trained array as a matrix
    to_matrices         X = M W: the matrices of a parameter change; M M^T = I
    from_matrices       W = M^T X: the parameter change of least norm with these matrices
    positions           number P of positions (optional; 1 by default)
    row_features        A_i (n P, m_i), whose rows are the a_sp, sample by sample
    with_features       the point with other features in place of A_i
    row_cotangents      b_i (c, n P, k_i), computed from cotangents ybar (c, n, ..)

The block step needs a pseudoinverse of df/dW for each layer:

    moved_halves        the halves of y that depend on the parameters
    rank_bound          the largest rank that df/dW can have on one column of y (optional)
    factor_params       the factored pseudoinverse of df/dW
    solve_params        its application: W' = (df/dW)^+ y'
    solved              the part of a parameter change that these two refer to (optional; by default all)
    begin_factor_params, begin_solve_params
                        the same, without waiting for the device (optional)

A layer must implement these maps:

- for the block step: the first and the last list;
- for the minimum-norm step on all outputs (dense, tiled, CG): the first list, `row_features` and
  `row_cotangents`;
- with few rows per sample, for orthogonalization and for K-FAC: the same maps, `weight_forms`, `to_matrices`
  and `from_matrices`; for the feature metric also `with_features`;
- for Muon and SOAP: the first list and `weight_forms`.

The examples use a coupling that changes the first half of three samples with four features each:

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

from revgn import trees
from revgn._dispatch import Struct, generic
from revgn.arrays import Array, Deferred, add, array_namespace, ready, subtract, zeros
from revgn.errors import ShapeError
from revgn.linalg import FactorInfo, PinvInfo, PinvRule
from revgn.trees import is_empty

Params: TypeAlias = tuple[Any, ...]  # nested tuples of arrays: see `revgn.trees`
Point: TypeAlias = Any  # opaque: only the layer that made it reads it
Data: TypeAlias = Any  # Halves, or an array if the layer takes or returns one


class Layer(Struct, Protocol):
    """Frozen dataclass with registered maps of this module; its own arrays are not trained."""


class Factored(Protocol):
    """Factored pseudoinverse of df/dW of a layer."""

    @property
    def info(self) -> FactorInfo | PinvInfo:
        """Extreme singular values, and the rank on one column of y (n P if every change is possible)."""


class Halves(NamedTuple):
    """The two halves (n, d/2) of n samples with d features."""

    first: Array
    second: Array


class WeightForm(NamedTuple):
    """Shape (rows, columns) of a trained array as a matrix; its last `bias_rows` rows are biases."""

    rows: int
    columns: int
    bias_rows: int


class KernelPart(NamedTuple):
    """Term sum_ij <a_si, a_tj> <b_osi, b_ptj> of the tangent kernel Theta[(o,s),(p,t)].

    o and p are outputs, s and t samples, i and j positions. The cotangents b are (c, n P, k), or (c, P, k) if
    they are the same for all samples.
    """

    features: Array  # A (n P, m)
    cotangents: Array  # b


class ParamsStep(NamedTuple):
    """Parameter change, the output change that it realizes, and the pseudoinverse that was used."""

    params: Params
    realized: Data
    info: PinvInfo


class BegunParamsStep(NamedTuple):
    """A `ParamsStep` that may be inaccurate; if it is, `read` of its info returns None."""

    params: Params
    realized: Data
    info: Deferred[PinvInfo | None]


@generic
def init(layer: Layer, rng: np.random.Generator, scale: float) -> Params:
    """Draw the initial parameters: weights N(0, scale^2), biases 0 (Buffelli et al. 2024: scale 1e-3).

    The layer's own arrays determine dtype and device.

    Examples
    --------
    >>> [W.shape for W in revgn.init(layer, rng, 0.1)]
    [(9, 2)]
    """


@generic
def forward(layer: Layer, params: Params, x: Data) -> Data:
    """Return the output y = f(x).

    Raises
    ------
    ShapeError
        If the shape of x does not fit the layer.
    UsageError
        If x does not have the network's dtype; nothing is converted.

    Notes
    -----
    Law: equal inputs give bitwise equal outputs; no argument is changed.

    Examples
    --------
    >>> y = revgn.forward(layer, params, x)
    >>> bool(np.all(y.second == x.second))  # the half that the coupling reads
    True
    """


@generic
def inverse(layer: Layer, params: Params, y: Data) -> Data:
    """Return the input x with f(x) = y.

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
    """Return y = f(x) and the point: the data at x that tangents, cotangents and pseudoinverses need.

    Raises the same errors as `forward`.

    Notes
    -----
    Law: y is bitwise equal to the result of `forward`.

    Examples
    --------
    >>> y, point = revgn.linearize(layer, params, x)
    >>> np.array_equal(y, revgn.forward(layer, params, x))
    True
    """


@generic
def linearize_inverse(layer: Layer, params: Params, y: Data) -> tuple[Data, Point]:
    """Return x with f(x) = y, and the point at x: the results of `linearize`, from the output alone.

    Notes
    -----
    Law: the point equals the point of `linearize` at x, up to the rounding of x.

    Examples
    --------
    >>> np.allclose(revgn.linearize_inverse(layer, params, y)[0], x)
    True
    """


@generic
def jvp_input(layer: Layer, params: Params, point: Point, dx: Data) -> Data:
    """Return df/dx dx, the first-order change of the output when the input changes by dx.

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
    """Return df/dW dW, the first-order change of the output when the parameters change by dW = dparams.

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
    """Return (df/dx)^-1 dy, the input change that changes the output by dy to first order.

    `point` is the point at the input, as for all other maps.

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
    """Return the cotangent (df/dx)^T y_bar of the input.

    y_bar may have leading axes, (c, n, d/2) or (c, 1, d/2), for c cotangents per sample.

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
    """Return the cotangent (df/dW)^T y_bar of the parameters, summed over the samples.

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
def jvp(layer: Layer, params: Params, point: Point, dx: Data, dparams: Params) -> Data:
    """Return df/dx dx + df/dW dW, if input and parameters change. Optional for a layer.

    Notes
    -----
    Law: equals jvp_params(dparams) + jvp_input(dx), up to rounding.

    Examples
    --------
    >>> dy = revgn.jvp(layer, params, point, x, params)
    >>> np.allclose(dy.first, revgn.jvp_input(layer, params, point, x).first + y.first - x.first)
    True
    """


@generic
def vjp(layer: Layer, params: Params, point: Point, y_bar: Data) -> tuple[Data, Params]:
    """Return the cotangents of the input and of the parameters. Optional for a layer.

    Notes
    -----
    Law: equals vjp_input(y_bar) and vjp_params(y_bar), up to rounding.

    Examples
    --------
    >>> x_bar, W_bar = revgn.vjp(layer, params, point, y)
    >>> np.array_equal(x_bar, revgn.vjp_input(layer, params, point, y))
    True
    """


@generic
def vjp_rows(layer: Layer, params: Params, point: Point, y_bar: Data) -> tuple[Data, tuple[Array, ...]]:
    """Return the cotangents of the input, and the row of df/dW of each sample and output. Optional.

    Parameters
    ----------
    y_bar : (c, n, ..)
        One cotangent for each of c outputs and n samples, or (c, 1, ..) if it is the same for all samples.

    Returns
    -------
    x_bar : (c, n, ..)
    rows : tuple of (c, n, m k)
        For each matrix of the layer, the matrices (m, k) flattened row by row.

    Notes
    -----
    Law: summed over the samples, the rows of one output are the result of `vjp_params`. Cost: 2 c n P m k
    operations for each matrix, for P positions, in addition to `vjp_input`.

    Examples
    --------
    >>> x_bar, (rows,) = revgn.vjp_rows(layer, params, point, revgn.Halves(y.first[None], y.second[None]))
    >>> W_bar = revgn.vjp_params(layer, params, point, y)
    >>> np.allclose(rows.sum(axis=1), W_bar.weight.ravel())
    True
    """


@vjp_rows.register(object)
def _vjp_rows_by_parts(
    layer: Layer, params: Params, point: Point, y_bar: Data
) -> tuple[Data, tuple[Array, ...]]:
    rows = []
    for part in kernel_parts(layer, params, point, y_bar):
        n = part.features.shape[0] // positions(layer)
        G = summed_rows(part, n)
        rows.append(array_namespace(G).reshape(G, (*G.shape[:2], -1)))
    return vjp_input(layer, params, point, y_bar), tuple(rows)


def summed_rows(part: KernelPart, samples: int, columns: slice = slice(None)) -> Array:
    """Return sum_i a_si b_osi^T (c, n, m, k) for some columns of A, summed over the positions of a sample."""
    (A, b), xp = part, array_namespace(part.features)
    apart = xp.permute_dims(xp.reshape(A, (1, samples, -1, A.shape[1])), (0, 1, 3, 2))  # (1, n, m, P)
    G: Array = xp.matmul(apart[:, :, columns, :], xp.reshape(b, (b.shape[0], -1, apart.shape[3], b.shape[2])))
    return G


@jvp.register(object)
def _jvp_by_both(layer: Layer, params: Params, point: Point, dx: Data, dparams: Params) -> Data:
    own = jvp_params(layer, params, point, dparams)
    pushed = jvp_input(layer, params, point, dx)
    return trees.add(own, pushed) if isinstance(own, tuple) else add(own, pushed)


@vjp.register(object)
def _vjp_by_both(layer: Layer, params: Params, point: Point, y_bar: Data) -> tuple[Data, Params]:
    params_bar = vjp_params(layer, params, point, y_bar)
    return vjp_input(layer, params, point, y_bar), params_bar


@generic
def weight_forms(layer: Layer) -> tuple[WeightForm, ...]:
    """Return the shapes of the trained arrays as matrices, in the order of `trees.leaves`.

    Notes
    -----
    Law: each array has `rows` times `columns` elements and is one matrix of `to_matrices`.

    Examples
    --------
    >>> revgn.weight_forms(layer)
    (WeightForm(rows=9, columns=2, bias_rows=1),)
    """


@generic
def to_matrices(layer: Layer, dparams: Params) -> tuple[Array, ...]:
    """Return the matrices X_i (m_i, k_i) of a parameter change: the part of it that changes the output.

    Notes
    -----
    Law: <ybar, jvp_params(dparams)> = sum_i <A_i^T b_i, X_i>, with A_i from `row_features` and b_i from
    `row_cotangents`.

    Examples
    --------
    >>> [X.shape for X in revgn.to_matrices(layer, params)]
    [(9, 2)]
    """


@generic
def from_matrices(layer: Layer, matrices: tuple[Array, ...]) -> Params:
    """Return the parameter change of least norm with matrices X_i (m_i, k_i): the adjoint of `to_matrices`.

    Notes
    -----
    Law: to_matrices(from_matrices(X)) = X; vjp_params(ybar) = from_matrices(A_i^T b_i).

    Examples
    --------
    >>> np.array_equal(revgn.from_matrices(layer, revgn.to_matrices(layer, params)), params)
    True
    """


@generic
def positions(layer: Layer) -> int:
    """Return the number P of positions at which the layer applies its weights to a sample; 1 by default.

    Notes
    -----
    Law: `row_features` has n P rows, sample by sample.

    Examples
    --------
    >>> revgn.positions(layer)
    1
    """


@positions.register(object)
def _one_position(layer: Layer) -> int:
    return 1


@generic
def row_features(layer: Layer, point: Point) -> tuple[Array, ...]:
    """Return the left factors A_i (n P, m_i) of the rows of df/dW; ones (n, 1) if rows have no such factors.

    Examples
    --------
    >>> [A.shape for A in revgn.row_features(layer, point)]
    [(3, 9)]
    """


@generic
def with_features(layer: Layer, point: Point, features: tuple[Array, ...]) -> Point:
    """Return the point with `features` in place of A_i, through which the parameters act; all else is kept.

    Notes
    -----
    Law: with A_i R_i in place of A_i, jvp_params(from_matrices(X_i)) equals
    jvp_params(from_matrices(R_i X_i)) at the original point.

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
    """Return the right factors b_i, (c, n P, k_i) or (c, P, k_i), of the rows of df/dW.

    Parameters
    ----------
    y_bar : (c, n, ..), or (c, 1, ..) if it is the same for all samples
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
    """Return the terms that a layer adds to the tangent kernel of the rows ybar; none without parameters.

    Notes
    -----
    Law: <(df/dW)^T ybar_os, (df/dW)^T ybar_pt> is the sum of the terms, where ybar_os is the cotangent ybar_o
    of sample s and 0 for all other samples.

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
    """Return the halves of the output that depend on the parameters: (0,), (1,) or (0, 1).

    A layer without parameters need not implement it.

    Notes
    -----
    Law: a layer that changes one half i is an additive coupling, y_i = x_i + g(x_j; W) and y_j = x_j.

    Examples
    --------
    >>> revgn.moved_halves(layer)
    (0,)
    """


@generic
def rank_bound(layer: Layer, point: Point) -> int:
    """Return the largest rank that `factor_params` can find: min(n P, features). Optional for a layer."""


@generic
def solved(layer: Layer, dparams: Params) -> Params:
    """Return dparams with zeros in parameters that `solve_params` does not change; by default dparams.

    Notes
    -----
    Law: `solved` is a projection that leaves the result of `solve_params` unchanged.

    Examples
    --------
    >>> revgn.maps.solved(layer, params) is params
    True
    """


@solved.register(object)
def _all_are_solved(layer: Layer, dparams: Params) -> Params:
    return dparams


@generic
def factor_params(layer: Layer, point: Point, rule: PinvRule) -> Factored:
    """Factor the pseudoinverse of df/dW, truncated and damped by `rule`; only its `info` is public.

    Examples
    --------
    >>> revgn.factor_params(layer, point, revgn.PinvRule()).info.rank  # three samples, three rows
    3
    """


@generic
def solve_params(layer: Layer, point: Point, factored: Factored, dy: Data) -> ParamsStep:
    """Return the parameter change (df/dW)^+ dy, and the output change that it realizes.

    It is the change of least norm among those of the `solved` parameters whose first-order effect on the
    output is closest to dy. It is truncated and damped by the rule of `factored`. Only the halves of dy in
    `moved_halves` are read.

    Notes
    -----
    Law: the four Penrose identities hold; `realized` equals jvp_params of the step.

    Examples
    --------
    >>> factored = revgn.factor_params(layer, point, revgn.PinvRule())
    >>> step = revgn.solve_params(layer, point, factored, y)
    >>> np.allclose(step.realized.first, y.first)  # nine features can realize any change of three samples
    True
    """


@generic
def begin_factor_params(layer: Layer, point: Point, rule: PinvRule) -> Deferred[Factored]:
    """Start `factor_params` without waiting for the device. Optional for a layer.

    Notes
    -----
    Law: `read` of the result equals `factor_params`.
    """


@generic
def begin_solve_params(layer: Layer, point: Point, factored: Factored, dy: Data) -> BegunParamsStep:
    """Start `solve_params` without waiting for the device. Optional for a layer.

    Notes
    -----
    Law: the step equals `solve_params` up to rounding, unless `read` of its info returns None.
    """


@begin_factor_params.register(object)
def _factor_at_once(layer: Layer, point: Point, rule: PinvRule) -> Deferred[Factored]:
    return ready(factor_params(layer, point, rule))


@begin_solve_params.register(object)
def _solve_at_once(layer: Layer, point: Point, factored: Factored, dy: Data) -> BegunParamsStep:
    params, realized, info = solve_params(layer, point, factored, dy)
    return BegunParamsStep(params, realized, ready(info))


def pinv_params(layer: Layer, point: Point, dy: Data, rule: PinvRule) -> ParamsStep:
    """Return (df/dW)^+ dy in one call: `factor_params`, then `solve_params`.

    Examples
    --------
    >>> step = revgn.pinv_params(layer, point, y, revgn.PinvRule())
    >>> np.allclose(revgn.jvp_params(layer, params, point, step.params).first, y.first)
    True
    """
    return solve_params(layer, point, factor_params(layer, point, rule), dy)


def moved(half: int, x: Halves, step: Array) -> Halves:
    """Return x with `step` added to half number `half`."""
    return replaced(half, x, add(x[half], step))


def moved_back(half: int, x: Halves, step: Array) -> Halves:
    """Return x with `step` subtracted from half number `half`."""
    return replaced(half, x, subtract(x[half], step))


def replaced(half: int, x: Halves, array: Array) -> Halves:
    """Return x with `array` in place of half number `half`."""
    return Halves(array, x.second) if half == 0 else Halves(x.first, array)


def alone(half: int, array: Array) -> Halves:
    """Return halves of zeros with `array` in place of half number `half`."""
    return replaced(half, Halves(*(zeros(array.shape, array),) * 2), array)


def check_halves(name: str, layer: Layer, x: Halves, width: int) -> None:
    """Raise `ShapeError` unless x consists of two halves (..., n, width)."""
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
