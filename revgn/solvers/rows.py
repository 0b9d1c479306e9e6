"""Rows per sample: the m directions of each sample's k outputs that a step constrains.

    R^T J D = R^T eps        R(s) (k, m) with orthonormal columns, for each sample s

The first column of R(s) is eps/|eps|, for the output step eps of the sample. The other columns are random
directions orthogonal to it, drawn anew at each step. They are H [0; V], where V (k-1, m-1) has uniformly
drawn orthonormal columns, and H is the reflection that maps the first axis to the line of eps. The columns
are orthonormal up to rounding for every direction of eps.

If eps of a sample is zero, or so small that its square underflows, the sample has no row: its R(s) is zero,
and so are its rows and columns of the kernel. They still count in the kernel's mean diagonal. Without damping
such a kernel is singular, and the minimum-norm solver computes an eigendecomposition.

With fewer rows than outputs, the step is a sketch-and-project method (Gower and Richtarik 2015) in the space
of the outputs.
"""

from typing import Any, Literal

import numpy as np

from revgn.arrays import Array, array_namespace, backend_of, draw_frames, matmul
from revgn.errors import ShapeError
from revgn.solvers.jacobian import Equation, Jacobian, Key, combined

Rows = int | Literal["all"]
ROWS = (
    "Rows per sample: number of directions of each sample's output that are constrained. The first direction "
    "is the output step eps; the others are random."
)
_DRAW = 11  # tag that separates these draws from other draws with the same seed


def with_rows(solver: Any, whole: Any, J: Jacobian, eps: Array, key: Key) -> Equation:
    """Return the equation R^T J D = R^T eps with `solver.rows` rows per sample.

    Parameters
    ----------
    whole : solver
        Solver of the returned equation, which constrains all its rows.
    key : (int, int)
        Seed and number of the step, from which the random rows are drawn.

    Raises
    ------
    ShapeError
        If J has fewer outputs than `solver.rows`.
    """
    if solver.rows == "all":
        return Equation(whole, J, eps)
    if solver.rows > eps.shape[1]:
        raise ShapeError(
            f"solve({type(solver).__name__}): rows is {solver.rows}, but a sample has {eps.shape[1]} outputs "
            "that can be constrained; use rows='all'"
        )
    R = draw_rows(eps, solver.rows, key)
    return Equation(whole, J._replace(outputs=composed(J.outputs, R)), combined(R, eps), (J, eps))


def draw_rows(eps: Array, count: int, key: Key) -> Array:
    """Return R (n, k, m) for eps (n, k): eps/|eps| of each sample, then m - 1 random directions.

    Notes
    -----
    Law: R^T R = I for each sample with nonzero eps, and R = 0 for all others. The result depends on the
    arguments only. With m = 1, nothing is drawn.
    """
    xp, (n, k) = array_namespace(eps), eps.shape
    most = xp.max(xp.abs(eps), axis=1, keepdims=True)
    tiny = xp.finfo(eps.dtype).smallest_normal  # turns 0/0 into 0, and has no other effect
    scaled = eps / (most + tiny)  # so that squares stay within the range of the dtype
    first = scaled / (xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True)) + tiny)
    if count == 1:
        return first[:, :, None]
    rng = np.random.default_rng([_DRAW, *key])
    V = draw_frames(rng, n, k - 1, count - 1, backend_of(eps), eps.dtype)  # (n, k-1, m-1)
    lead, rest = first[:, :1, None], first[:, 1:, None]  # entries of eps/|eps|
    along = xp.sum(rest * V, axis=1, keepdims=True)  # (n, 1, m-1)
    sign = xp.where(lead < 0, -xp.ones_like(lead), xp.ones_like(lead))
    others = xp.concat([-sign * along, V - rest * along / (1.0 + xp.abs(lead))], axis=1)
    others = xp.where(most[:, :, None] > 0, others, 0.0 * lead)
    return xp.concat([first[:, :, None], others], axis=2)


def composed(Q: Array | None, R: Array) -> Array:
    """Return Q R (n, c, m), for combinations Q (c, k) or (n, c, k) and rows R (n, k, m)."""
    if Q is None:
        return R
    if Q.ndim == 3:
        return Q @ R
    xp, (n, k, m) = array_namespace(R), R.shape
    flat = xp.reshape(xp.permute_dims(R, (0, 2, 1)), (n * m, k))
    return xp.permute_dims(xp.reshape(matmul(flat, Q.T), (n, m, -1)), (0, 2, 1))
