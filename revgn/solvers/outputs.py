"""Outputs that a step constrains: all logits, or the centered logits.

Softmax does not depend on a constant that is added to all outputs of a sample. It therefore suffices to
realize the centered logits eps Q, where Q (c, c-1) has orthonormal columns that are orthogonal to the vector
of ones. The kernel and the step are then smaller.
"""

import math
from dataclasses import replace
from typing import Any, Literal

from revgn.arrays import Array, backend_of, matmul
from revgn.cost import Sizes
from revgn.errors import ShapeError, UsageError
from revgn.solvers.jacobian import Equation, Jacobian, Key
from revgn.solvers.rows import with_rows

Outputs = Literal["logits", "centered-logits"]
OUTPUTS = (
    "Outputs that are constrained: the logits, or the centered logits (minus the mean of each sample's "
    "logits, which softmax ignores)."
)


def equation_of_outputs(solver: Any, J: Jacobian, eps: Array, key: Key = (0, 0)) -> Equation:
    """Return the equation for all logits or the centered logits, and for all or some rows of each sample."""
    whole = replace(solver, outputs="logits", rows="all")
    if solver.outputs == "centered-logits":
        if J.outputs is not None:
            raise UsageError(
                f"solve({type(solver).__name__}): J already has combined outputs; use outputs='logits'"
            )
        Q = centering(eps)
        J, eps = J._replace(outputs=Q), matmul(eps, Q)
    return with_rows(solver, whole, J, eps, key)


def centering(like: Array) -> Array:
    """Return Q (c, c-1) for outputs (n, c): orthonormal columns that are orthogonal to the vector of ones.

    Q is the Helmert matrix without its constant vector.

    Raises
    ------
    ShapeError
        If there is a single output, which softmax ignores.
    """
    c = like.shape[1]
    if c < 2:
        raise ShapeError("solve(MinimumNorm): a single output has no centered logits; use outputs='logits'")
    columns = [
        [(float(i < j) - j * float(i == j)) / math.sqrt(j * (j + 1)) for j in range(1, c)] for i in range(c)
    ]
    return backend_of(like).asarray(columns, dtype=like.dtype)


def constrained(solver: Any, sizes: Sizes) -> tuple[int, Sizes]:
    """Return the number of constrained rows per sample, and the sizes of a step with these rows."""
    m = sizes.outputs - (solver.outputs == "centered-logits")
    if solver.rows == "all":
        return m, sizes
    return solver.rows, sizes._replace(own_rows=True, span=sizes.span or sizes.outputs)
