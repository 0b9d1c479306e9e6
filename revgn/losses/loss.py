"""What a loss is: three generic functions of outputs z (n, c) and targets t (n, c)."""

from typing import Protocol

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError


class Loss(Struct, Protocol):
    """A frozen dataclass for which `value`, `gradient` and `output_step` are registered."""


@generic
def value(loss: Loss, z: Array, t: Array) -> Array:
    """Mean of the loss over the samples; a 0-d array.

    Raises
    ------
    ShapeError
        If z and t differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.losses import SquaredError
    >>> z, t = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    >>> float(value(SquaredError(), z, t))
    4.0
    """


@generic
def gradient(loss: Loss, z: Array, t: Array) -> Array:
    """d value / dz (n, c).

    Notes
    -----
    Law: equals the derivative of `value`.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.losses import SquaredError
    >>> z, t = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    >>> gradient(SquaredError(), z, t)
    array([[4., 0.]])
    """


@generic
def output_step(loss: Loss, z: Array, t: Array) -> Array:
    """eps (n, c), with the curvature that the loss declares; Gauss-Newton moves the outputs z -> z - lr eps.

    Notes
    -----
    Law: curvature times eps is n times the gradient, up to the scale that the loss's file states.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.losses import SquaredError
    >>> z, t = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    >>> output_step(SquaredError(), z, t)
    array([[2., 0.]])
    """


def accuracy(z: Array, t: Array) -> Array:
    """Share of samples whose largest output is where the largest target is; a 0-d array.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.array([[2.0, 1.0], [0.0, 3.0]])
    >>> float(accuracy(z, np.array([[1.0, 0.0], [1.0, 0.0]])))
    0.5
    """
    xp = array_namespace(z, t)
    hits = xp.argmax(z, axis=1) == xp.argmax(t, axis=1)
    return xp.mean(xp.astype(hits, z.dtype))


def check_outputs(name: str, loss: Loss, z: Array, t: Array) -> None:
    """Raise `ShapeError` unless outputs and targets are both (n, c)."""
    if z.shape != t.shape or z.ndim != 2:
        raise ShapeError(
            f"{name}({type(loss).__name__}): outputs are {z.shape} and targets {t.shape}; expected one (n, c)"
        )
