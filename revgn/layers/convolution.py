"""Convolutions: features of the neighbourhood of each pixel, with weights that all pixels share.

    A(u) = [phi(unfold(u) C), 1]        A(u) W at each of P pixels

u is an image with q channels, and unfold(u) has one row for each pixel: the k k q numbers around it. W is a
1 x 1 convolution. The projection C is frozen (`FrozenConvolution`) or trained (`TrainedConvolution`). With a
single pixel and k = 1, unfold(u) = u: these are dense features with a trained projection.

Derivatives of A(u) W, with slopes phi', W without its bias row Wb, and fold the transpose of unfold:

    in u        du -> ((unfold(du) C) * phi') Wb        b -> fold(g C^T),  g = (b Wb^T) * phi'
    in W        dW -> A dW                              b -> A^T b
    in C        dC -> ((unfold(u) dC) * phi') Wb        b -> unfold(u)^T g

Shapes: u (n, P q), unfold(u) (n P, k k q), C (k k q, h), A (n P, h+1), phi' (n P, h), W (h+1, q). All maps
are computed in blocks of samples whose neighbourhoods stay in the processor's cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from revgn import maps
from revgn.arrays import (
    Array,
    Backend,
    DType,
    Grid,
    activate,
    add,
    array_namespace,
    backend_of,
    draw_normal,
    empty,
    fold,
    matmul,
    matmul_into,
    sample_blocks,
    sandwich,
    scaled,
    select_backend,
    unfold,
    zeros,
)
from revgn.errors import UsageError
from revgn.layers.activation import Activation, value_and_slope
from revgn.layers.feature_map import CouplingParams


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """Base class of convolutions, with frozen or trained projection C."""

    grid: Grid
    activation: Activation
    hidden: int  # h

    def __post_init__(self) -> None:
        if self.grid.kernel % 2 == 0 or min(self.grid) < 1:
            raise UsageError(
                f"{type(self).__name__}: {self.grid}; expected positive sizes, and an odd kernel size"
            )

    @property
    def width(self) -> int:
        """Number P q of columns of u and of A(u) W."""
        return self.grid.size


@dataclass(frozen=True, slots=True, eq=False)
class FrozenConvolution(Convolution):
    """Convolution with a frozen projection C."""

    projection: Array  # C (k k q, h)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedConvolution(Convolution):
    """Convolution with a trained projection C, drawn from N(0, 1/(k k q)) by `init`."""

    like: Array  # (0,), of the dtype and device of the parameters


class ProjectedParams(NamedTuple):
    """Trained weight W (h+1, q), whose last row is the bias, and trained projection C (k k q, h)."""

    weight: Array
    projection: Array


Params = CouplingParams | ProjectedParams


class ConvolutionPoint(NamedTuple):
    """Inputs u, features A, slopes phi' (boolean for relu), and rows that replace unfold(u), if set."""

    inputs: Array
    features: Array
    slope: Array
    neighbourhoods: Array | None = None


def draw_convolution(
    grid: Grid,
    hidden: int,
    rng: np.random.Generator,
    *,
    activation: Activation = "relu",
    projection: str = "frozen",
    backend: Backend | None = None,
    dtype: DType = None,
) -> FrozenConvolution | TrainedConvolution:
    """Return a convolution with h = `hidden` features of each pixel.

    Parameters
    ----------
    grid : Grid
        Height, width and channels of the images, and the odd size k of a neighbourhood.
    projection : {"frozen", "trained"}
        A frozen projection C is drawn from N(0, 1/(k k q)) here, a trained one by `init`.
    backend, dtype
        Array library with device, and dtype, of the arrays. Default: NumPy and float64.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> features = draw_convolution(Grid(4, 4, 2, 3), 8, rng, projection="trained")
    >>> [W.shape for W in revgn.init(features, rng, 0.1)]
    [(9, 2), (18, 8)]
    """
    backend = backend or select_backend("numpy")
    dtype = dtype or backend.xp.float64
    if projection == "trained":
        like = backend.xp.zeros((0,), dtype=dtype, device=backend.device)
        return TrainedConvolution(grid, activation, hidden, like)
    C = draw_normal(rng, (grid.fan_in, hidden), grid.fan_in**-0.5, backend, dtype)
    return FrozenConvolution(grid, activation, hidden, C)


def trained_features(
    width: int,
    hidden: int,
    *,
    activation: Activation = "relu",
    backend: Backend | None = None,
    dtype: DType = None,
) -> TrainedConvolution:
    """Return dense features [phi(u C), 1] of u (n, `width`) with a trained projection C (width, hidden).

    They are the convolution of an image with a single pixel.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> features = trained_features(2, 8)
    >>> [W.shape for W in revgn.init(features, np.random.default_rng(0), 0.1)]
    [(9, 2), (2, 8)]
    """
    backend = backend or select_backend("numpy")
    like = backend.xp.zeros((0,), dtype=dtype or backend.xp.float64, device=backend.device)
    return TrainedConvolution(Grid(1, 1, width), activation, hidden, like)


@maps.init.register(FrozenConvolution)
def init_frozen_convolution(of: FrozenConvolution, rng: np.random.Generator, scale: float) -> CouplingParams:
    return CouplingParams(_draw_weight(of, of.projection, rng, scale))


@maps.init.register(TrainedConvolution)
def init_trained_convolution(
    of: TrainedConvolution, rng: np.random.Generator, scale: float
) -> ProjectedParams:
    W, f = _draw_weight(of, of.like, rng, scale), of.grid.fan_in
    return ProjectedParams(W, draw_normal(rng, (f, of.hidden), f**-0.5, backend_of(W), W.dtype))


@maps.forward.register(Convolution)
def forward_convolution(of: Convolution, params: Params, u: Array) -> Array:
    return _evaluated(of, params, u, keep=False)[0]  # A and phi' of one block at a time


@maps.linearize.register(Convolution)
def linearize_convolution(of: Convolution, params: Params, u: Array) -> tuple[Array, ConvolutionPoint]:
    y, A, slope = _evaluated(of, params, u, keep=True)
    return y, ConvolutionPoint(u, A, slope)


@maps.jvp_input.register(Convolution)
def jvp_input_convolution(of: Convolution, params: Params, point: ConvolutionPoint, du: Array) -> Array:
    C, Wb = projection_of(of, params), params.weight[:-1, :]
    y = empty(du.shape, du)
    for samples, rows in blocks_of(of, du):
        part = sandwich(unfold(du[samples, :], of.grid), C, point.slope[rows, :], Wb)
        y[samples, :] = array_namespace(part).reshape(part, (-1, of.width))
    return y


@maps.jvp_params.register(FrozenConvolution)
def jvp_params_frozen_convolution(
    of: FrozenConvolution, params: CouplingParams, point: ConvolutionPoint, dparams: CouplingParams
) -> Array:
    return of_images(of, matmul(point.features, dparams.weight))


@maps.jvp_params.register(TrainedConvolution)
def jvp_params_trained_convolution(
    of: TrainedConvolution, params: ProjectedParams, point: ConvolutionPoint, dparams: ProjectedParams
) -> Array:
    Wb = params.weight[:-1, :]
    y = matmul(point.features, dparams.weight)
    for samples, rows in blocks_of(of, point.inputs):
        U = neighbourhoods(of, point, samples, rows)
        y[rows, :] = add(y[rows, :], sandwich(U, dparams.projection, point.slope[rows, :], Wb))
    return of_images(of, y)


@maps.vjp_input.register(Convolution)
def vjp_input_convolution(of: Convolution, params: Params, point: ConvolutionPoint, b: Array) -> Array:
    C, Wb = projection_of(of, params), params.weight[:-1, :]
    n = point.inputs.shape[0]
    xp, leading = array_namespace(b), b.shape[:-2]
    if b.shape[-2] != n:  # the same cotangent for all samples
        b = xp.broadcast_to(b, (*leading, n, b.shape[-1]))
    u_bar = empty((*leading, n, of.width), b)
    for samples, rows in blocks_of(of, point.inputs):
        g = sandwich(of_pixels(of, b[..., samples, :]), Wb.T, point.slope[rows, :], C.T)
        images = fold(xp.reshape(g, (-1, g.shape[-1])), of.grid)
        u_bar[..., samples, :] = xp.reshape(images, (*leading, -1, of.width))
    return u_bar


@maps.vjp_params.register(FrozenConvolution)
def vjp_params_frozen_convolution(
    of: FrozenConvolution, params: CouplingParams, point: ConvolutionPoint, b: Array
) -> CouplingParams:
    return CouplingParams(matmul(point.features.T, of_pixels(of, b)))


@maps.vjp_params.register(TrainedConvolution)
def vjp_params_trained_convolution(
    of: TrainedConvolution, params: ProjectedParams, point: ConvolutionPoint, b: Array
) -> ProjectedParams:
    Wb, b = params.weight[:-1, :], of_pixels(of, b)
    C_bar = zeros(params.projection.shape, b)
    for samples, rows in blocks_of(of, point.inputs):
        g = scaled(matmul(b[rows, :], Wb.T), point.slope[rows, :])
        C_bar += matmul(neighbourhoods(of, point, samples, rows).T, g)
    return ProjectedParams(matmul(point.features.T, b), C_bar)


@maps.jvp.register(Convolution)
def jvp_convolution(
    of: Convolution, params: Params, point: ConvolutionPoint, du: Array, dparams: Params
) -> Array:
    """Return ([unfold(du), unfold(u)] [C; dC] * phi') Wb + A dW; both products with C are computed as one."""
    xp, C, Wb = array_namespace(du), projection_of(of, params), params.weight[:-1, :]
    dC = dparams.projection if isinstance(dparams, ProjectedParams) else None
    both = C if dC is None else xp.concat((C, dC), axis=0)
    y = empty((point.features.shape[0], of.grid.channels), du)
    for samples, rows in blocks_of(of, du):
        U = unfold(du[samples, :], of.grid)
        if dC is not None:
            U = xp.concat((U, neighbourhoods(of, point, samples, rows)), axis=1)
        pushed = sandwich(U, both, point.slope[rows, :], Wb)
        y[rows, :] = add(matmul(point.features[rows, :], dparams.weight), pushed)
    return of_images(of, y)


@maps.vjp.register(TrainedConvolution)
def vjp_trained_convolution(
    of: TrainedConvolution, params: ProjectedParams, point: ConvolutionPoint, b: Array
) -> tuple[Array, ProjectedParams]:
    """Return both cotangents from g = (b Wb^T) * phi', which is computed once."""
    C, Wb, u_bar = params.projection, params.weight[:-1, :], empty(b.shape, b)
    b, C_bar = of_pixels(of, b), zeros(C.shape, b)
    for samples, rows in blocks_of(of, point.inputs):
        g = scaled(matmul(b[rows, :], Wb.T), point.slope[rows, :])
        C_bar += matmul(neighbourhoods(of, point, samples, rows).T, g)
        u_bar[samples, :] = fold(matmul(g, C.T), of.grid)
    return u_bar, ProjectedParams(matmul(point.features.T, b), C_bar)


def projection_of(of: Convolution, params: Params) -> Array:
    """Return the projection C (k k q, h), from the parameters if it is trained."""
    if isinstance(params, ProjectedParams):
        return params.projection
    assert isinstance(of, FrozenConvolution)
    return of.projection


def _draw_weight(of: Convolution, like: Array, rng: np.random.Generator, scale: float) -> Array:
    shape = (of.hidden + 1, of.grid.channels)
    return draw_normal(rng, shape, scale, backend_of(like), like.dtype, zero_rows=1)


def _evaluated(of: Convolution, params: Params, u: Array, *, keep: bool) -> tuple[Array, Array, Array]:
    """Return A(u) W, A and phi'; without `keep`, the memory of A and phi' holds one block of samples only."""
    C, W, phi = projection_of(of, params), params.weight, partial(value_and_slope, of.activation)
    blocks = list(blocks_of(of, u))
    if len(blocks) == 1:
        A, slope = activate(unfold(u, of.grid), C, phi)
        return of_images(of, matmul(A, W)), A, slope
    y = empty((blocks[-1][1].stop, of.grid.channels), u)
    A = empty((blocks[-1 if keep else 0][1].stop, C.shape[1] + 1), u)
    slope = empty((A.shape[0], C.shape[1]), u, phi(A[:0, :])[1].dtype)
    for samples, rows in blocks:
        own = rows if keep else slice(0, rows.stop - rows.start)
        activate(unfold(u[samples, :], of.grid), C, phi, (A[own, :], slope[own, :]))
        matmul_into(A[own, :], W, y[rows, :])
    return of_images(of, y), A, slope


def blocks_of(of: Convolution, u: Array) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of samples, and their rows in arrays of n P rows."""
    P = of.grid.pixels
    for samples in sample_blocks(u.shape[0], P * (of.grid.fan_in + of.hidden), u):
        yield samples, slice(samples.start * P, samples.stop * P)


def neighbourhoods(of: Convolution, point: ConvolutionPoint, samples: slice, rows: slice) -> Array:
    """Return unfold(u) of a block of samples, or the rows that the point has in its place."""
    if point.neighbourhoods is not None:
        return point.neighbourhoods[rows, :]
    return unfold(point.inputs[samples, :], of.grid)


def of_pixels(of: Convolution, x: Array) -> Array:
    """Return x (..., n, P q) as (..., n P, q)."""
    q = of.grid.channels
    return array_namespace(x).reshape(x, (*x.shape[:-2], -1, q))


def of_images(of: Convolution, y: Array) -> Array:
    """Return y (n P, q) as (n, P q)."""
    return array_namespace(y).reshape(y, (-1, of.width))
