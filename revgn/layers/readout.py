"""Linear readout with orthonormal columns: the last layer of a network. It is not trained.

    z = x_0 U_0 + x_1 U_1        U = [U_0; U_1], U^T U = I, hence U^+ = U^T

Shapes: halves (n, d/2), U (d, c), z (n, c) with c <= d. The readout has no parameters. It has no inverse if
c < d; `lift` is its right inverse. Source: Buffelli et al. 2024, section 5.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from revgn.arrays import Array, Backend, DType, add, draw_orthonormal, matmul, select_backend
from revgn.errors import ShapeError
from revgn.maps import Halves, check_halves, forward, init, jvp_input, linearize, vjp_input


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Projection of both halves to c outputs by a matrix U with orthonormal columns."""

    first: Array  # U_0 (d/2, c)
    second: Array  # U_1 (d/2, c)


class ReadoutParams(NamedTuple):
    """Parameters of a readout: none."""


class ReadoutPoint(NamedTuple):
    """Linearization point of a readout: empty, since the readout is linear."""


def draw_readout(
    width: int, outputs: int, rng: np.random.Generator, *, backend: Backend | None = None, dtype: DType = None
) -> Readout:
    """Return a readout whose U is drawn uniformly from the matrices with orthonormal columns.

    Parameters
    ----------
    width : int
        Columns d/2 of each half.
    outputs : int
        Outputs c.
    backend, dtype
        Array library with device, and dtype, of U. Default: NumPy and float64.

    Raises
    ------
    ShapeError
        If c > d.

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
            f"draw_readout: {outputs} outputs for {2 * width} features; expected at most as many outputs "
            "as features"
        )
    backend = backend or select_backend("numpy")
    U = draw_orthonormal(rng, 2 * width, outputs, backend, dtype or backend.xp.float64)
    return Readout(U[:width, :], U[width:, :])


def lift(layer: Readout, dz: Array) -> Halves:
    """Return dz U^T, the smallest change of the halves that changes the outputs by dz (n, c)."""
    return Halves(matmul(dz, layer.first.T), matmul(dz, layer.second.T))


@init.register(Readout)
def init_readout(layer: Readout, rng: np.random.Generator, scale: float) -> ReadoutParams:
    return ReadoutParams()


@forward.register(Readout)
def forward_readout(layer: Readout, params: ReadoutParams, x: Halves) -> Array:
    check_halves("forward", layer, x, layer.first.shape[0])
    return _read(layer, x)


@linearize.register(Readout)
def linearize_readout(layer: Readout, params: ReadoutParams, x: Halves) -> tuple[Array, ReadoutPoint]:
    return forward_readout(layer, params, x), ReadoutPoint()


@jvp_input.register(Readout)
def jvp_input_readout(layer: Readout, params: ReadoutParams, point: ReadoutPoint, dx: Halves) -> Array:
    return _read(layer, dx)


@vjp_input.register(Readout)
def vjp_input_readout(layer: Readout, params: ReadoutParams, point: ReadoutPoint, y_bar: Array) -> Halves:
    return lift(layer, y_bar)


def _read(layer: Readout, x: Halves) -> Array:
    return add(matmul(x.first, layer.first), matmul(x.second, layer.second))
