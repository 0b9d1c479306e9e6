"""Linear readout with orthonormal columns: the last layer of a network. It is not trained.

    z = x_0 U_0 + x_1 U_1        U = [U_0; U_1], U^T U = I, hence U^+ = U^T

A pooled readout reads images of P pixels with q channels in each half. x is then the mean over the pixels,
and U (2 q, c) reads the channels. Its transpose divides by P; its right inverse `lift` does not.

Shapes: halves (n, P q), U (2 q, c), z (n, c) with c <= 2 q; P = 1 and q = d/2 unless the readout is pooled.
The readout has no parameters. It has no inverse if c < d; `lift` is its right inverse. Source: Buffelli et
al. 2024, section 5.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from revgn.arrays import Array, Backend, DType, add, array_namespace, draw_orthonormal, matmul, select_backend
from revgn.errors import ShapeError
from revgn.maps import Halves, check_halves, forward, init, jvp_input, linearize, vjp_input


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Projection of both halves, or of their means over P pixels, to c outputs.

    U has orthonormal columns.
    """

    first: Array  # U_0 (q, c)
    second: Array  # U_1 (q, c)
    pixels: int = 1  # P

    @property
    def width(self) -> int:
        """Number P q of columns of each half."""
        return self.pixels * self.first.shape[0]


class ReadoutParams(NamedTuple):
    """Parameters of a readout: none."""


class ReadoutPoint(NamedTuple):
    """Linearization point of a readout: empty, since the readout is linear."""


def draw_readout(
    width: int,
    outputs: int,
    rng: np.random.Generator,
    *,
    pixels: int = 1,
    backend: Backend | None = None,
    dtype: DType = None,
) -> Readout:
    """Return a readout whose U is drawn uniformly from the matrices with orthonormal columns.

    Parameters
    ----------
    width : int
        Columns d/2 of each half, or channels of each half if the readout is pooled.
    outputs : int
        Outputs c.
    pixels : int
        Pixels P over which the readout takes the mean.
    backend, dtype
        Array library with device, and dtype, of U. Default: NumPy and float64.

    Raises
    ------
    ShapeError
        If c > 2 `width`.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> readout = revgn.draw_readout(4, 3, np.random.default_rng(0))
    >>> np.allclose(readout.first.T @ readout.first + readout.second.T @ readout.second, np.eye(3))
    True
    """
    if outputs > 2 * width:
        raise ShapeError(
            f"draw_readout: {outputs} outputs for {2 * width} {'features' if pixels == 1 else 'channels'}; "
            "expected at most as many outputs"
        )
    backend = backend or select_backend("numpy")
    U = draw_orthonormal(rng, 2 * width, outputs, backend, dtype or backend.xp.float64)
    return Readout(U[:width, :], U[width:, :], pixels)


def lift(layer: Readout, dz: Array) -> Halves:
    """Return the smallest change of the halves that changes the outputs by dz (n, c).

    It is dz U^T, at each pixel.
    """
    return Halves(*(_at_each_pixel(layer, half) for half in _channels(layer, dz)))


def spread(layer: Readout, y_bar: Halves) -> Halves:
    """Return the cotangents (.., P q) of the halves from cotangents y_bar (.., q) of their means."""
    if layer.pixels == 1:
        return y_bar
    return Halves(*(_at_each_pixel(layer, half / layer.pixels) for half in y_bar))


@init.register(Readout)
def init_readout(layer: Readout, rng: np.random.Generator, scale: float) -> ReadoutParams:
    return ReadoutParams()


@forward.register(Readout)
def forward_readout(layer: Readout, params: ReadoutParams, x: Halves) -> Array:
    check_halves("forward", layer, x, layer.width)
    return _read(layer, x)


@linearize.register(Readout)
def linearize_readout(layer: Readout, params: ReadoutParams, x: Halves) -> tuple[Array, ReadoutPoint]:
    return forward_readout(layer, params, x), ReadoutPoint()


@jvp_input.register(Readout)
def jvp_input_readout(layer: Readout, params: ReadoutParams, point: ReadoutPoint, dx: Halves) -> Array:
    return _read(layer, dx)


@vjp_input.register(Readout)
def vjp_input_readout(layer: Readout, params: ReadoutParams, point: ReadoutPoint, y_bar: Array) -> Halves:
    return spread(layer, _channels(layer, y_bar))


def _channels(layer: Readout, dz: Array) -> Halves:
    """Return dz U^T (.., q)."""
    return Halves(matmul(dz, layer.first.T), matmul(dz, layer.second.T))


def _read(layer: Readout, x: Halves) -> Array:
    first, second = (_mean(layer, half) for half in x)
    return add(matmul(first, layer.first), matmul(second, layer.second))


def _mean(layer: Readout, x: Array) -> Array:
    """Return the means over the pixels (.., q) of x (.., P q)."""
    if layer.pixels == 1:
        return x
    xp = array_namespace(x)
    return xp.mean(xp.reshape(x, (*x.shape[:-1], layer.pixels, -1)), axis=-2)


def _at_each_pixel(layer: Readout, x: Array) -> Array:
    """Return x (.., q) repeated at all pixels (.., P q)."""
    if layer.pixels == 1:
        return x
    xp, (*leading, q) = array_namespace(x), x.shape
    repeated = xp.broadcast_to(x[..., None, :], (*leading, layer.pixels, q))
    return xp.reshape(repeated, (*leading, layer.pixels * q))
