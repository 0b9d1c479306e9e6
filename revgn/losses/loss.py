"""Interface of a loss: three generic functions of outputs z (n, c) and targets t (n, c)."""

from typing import Protocol

from revgn._dispatch import Struct, generic
from revgn.arrays import Array, array_namespace
from revgn.errors import ShapeError


class Loss(Struct, Protocol):
    """Protocol of a loss: a frozen dataclass for which `value`, `gradient`, `output_step` are registered."""


@generic
def value(loss: Loss, z: Array, t: Array) -> Array:
    """Return the mean of the loss over the samples, a 0-d array.

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
    """Return the derivative of `value` in the outputs z (n, c).

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
    """Return the output step eps (n, c), the requested change of the outputs.

    An exact Gauss-Newton step with learning rate lr changes the outputs from z to z - lr eps, to first order.

    Notes
    -----
    Law: the curvature times eps is n times the gradient. The module of the loss states curvature and scale.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.losses import SquaredError
    >>> z, t = np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])
    >>> output_step(SquaredError(), z, t)
    array([[2., 0.]])
    """


def accuracy(z: Array, t: Array) -> Array:
    """Return the fraction of samples whose largest output has the index of the largest target, a 0-d array.

    The result is meaningless if an output is NaN.

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
    """Raise `ShapeError` unless outputs and targets have the same shape (n, c)."""
    if z.shape != t.shape or z.ndim != 2:
        raise ShapeError(
            f"{name}({type(loss).__name__}): outputs have shape {z.shape} and targets {t.shape}; "
            "expected the same shape (n, c)"
        )
