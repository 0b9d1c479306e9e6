"""Linear readout with orthonormal columns: the last, frozen layer of a classifier or a regression.

    z = x_0 U_0 + x_1 U_1        U = [U_0; U_1], U^T U = I, hence U^+ = U^T

Shapes: halves (n, d/2), U (d, c), z (n, c) with c <= d. It has no parameters and, having fewer outputs
than inputs, no inverse; its right inverse is `lift`. Source: Buffelli et al. 2024, section 5.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from revgn.arrays import Array, Backend, DType, add, draw_orthonormal, matmul, select_backend
from revgn.errors import ShapeError
from revgn.maps import Halves, check_halves, forward, init, jvp_input, linearize, vjp_input


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """Orthonormal projection of both halves to c outputs."""

    first: Array  # U_0 (d/2, c)
    second: Array  # U_1 (d/2, c)


class ReadoutParams(NamedTuple):
    """Nothing is trained."""


class ReadoutPoint(NamedTuple):
    """A linear map is the same everywhere."""


def draw_readout(
    width: int, outputs: int, rng: np.random.Generator, *, backend: Backend | None = None, dtype: DType = None
) -> Readout:
    """Readout of halves of `width` features, U uniform over matrices with orthonormal columns.

    Parameters
    ----------
    backend, dtype
        Library, device and dtype of U; NumPy and float64 unless given.

    Raises
    ------
    ShapeError
        If there are more outputs than features.

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
            f"draw_readout: {outputs} outputs of {2 * width} features; expected no more outputs than features"
        )
    backend = backend or select_backend("numpy")
    U = draw_orthonormal(rng, 2 * width, outputs, backend, dtype or backend.xp.float64)
    return Readout(U[:width, :], U[width:, :])


def lift(layer: Readout, dz: Array) -> Halves:
    """dz U^T: the smallest change of the halves that changes the outputs by dz (n, c)."""
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
