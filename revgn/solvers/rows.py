"""Rows per sample: which combinations of each sample's outputs a step constrains.

    R^T J D = R^T eps        R(s) (k, m), orthonormal columns, for each sample s

The first row is eps/|eps|; the others are random directions orthonormal to it, drawn anew at each step. With
V (k-1, m-1) drawn uniformly and H the reflection that takes the first axis to the line of eps, they are
H [0; V]: orthonormal to rounding, however eps lies.

A sample whose eps is zero, or so small that its square is, has no row: its columns of R are zero, and so are
its rows and columns of the kernel, which count in the mean diagonal. Without damping such a kernel is
singular, and the minimum norm finds its eigenvectors.

Fewer rows than outputs are sketch and project (Gower and Richtarik 2015) in the space of the outputs.
"""

from typing import Any, Literal

import numpy as np

from revgn.arrays import Array, array_namespace, backend_of, draw_frames, matmul
from revgn.errors import ShapeError
from revgn.solvers.jacobian import Equation, Jacobian, Key, combined

Rows = int | Literal["all"]
ROWS = "Combinations of each sample's outputs that are constrained: eps/|eps|, then random ones."
_DRAW = 11  # tag that keeps these draws apart from others of the same seed


def with_rows(solver: Any, whole: Any, J: Jacobian, eps: Array, key: Key) -> Equation:
    """Equation of `solver.rows` rows of each sample, of J D = eps.

    Parameters
    ----------
    whole : solver
        Solves the equation that is returned as it stands.
    key : (int, int)
        Seed and step, from which the rows beyond the first are drawn.

    Raises
    ------
    ShapeError
        If J has fewer outputs than that.
    """
    if solver.rows == "all":
        return Equation(whole, J, eps)
    if solver.rows > eps.shape[1]:
        raise ShapeError(
            f"solve({type(solver).__name__}): rows is {solver.rows}, but a sample has {eps.shape[1]} outputs "
            "that can be constrained; take rows='all'"
        )
    R = draw_rows(eps, solver.rows, key)
    return Equation(whole, J._replace(outputs=composed(J.outputs, R)), combined(R, eps), (J, eps))


def draw_rows(eps: Array, count: int, key: Key) -> Array:
    """R (n, k, m) for eps (n, k): eps/|eps| of each sample, then m - 1 random directions; zeros where eps is.

    Notes
    -----
    Law: R^T R = I for each sample whose eps is not zero. A function of its arguments alone; with one row
    nothing is drawn.
    """
    xp, (n, k) = array_namespace(eps), eps.shape
    square = xp.sum(eps * eps, axis=1, keepdims=True)
    is_there = square >= xp.finfo(eps.dtype).smallest_normal
    first = xp.where(is_there, eps / xp.sqrt(xp.where(is_there, square, xp.ones_like(square))), 0.0 * square)
    if count == 1:
        return first[:, :, None]
    rng = np.random.default_rng([_DRAW, *key])
    V = draw_frames(rng, n, k - 1, count - 1, backend_of(eps), eps.dtype)  # (n, k-1, m-1)
    lead, rest = first[:, :1, None], first[:, 1:, None]  # of eps/|eps|
    along = xp.sum(rest * V, axis=1, keepdims=True)  # (n, 1, m-1)
    sign = xp.where(lead < 0, -xp.ones_like(lead), xp.ones_like(lead))
    others = xp.concat([-sign * along, V - rest * along / (1.0 + xp.abs(lead))], axis=1)
    others = xp.where(is_there[:, :, None], others, 0.0 * lead)
    return xp.concat([first[:, :, None], others], axis=2)


def composed(Q: Array | None, R: Array) -> Array:
    """Q R (n, c, m) of combinations Q (c, k) or (n, c, k), and R (n, k, m) of each sample."""
    if Q is None:
        return R
    if Q.ndim == 3:
        return Q @ R
    xp, (n, k, m) = array_namespace(R), R.shape
    flat = xp.reshape(xp.permute_dims(R, (0, 2, 1)), (n * m, k))
    return xp.permute_dims(xp.reshape(matmul(flat, Q.T), (n, m, -1)), (0, 2, 1))
