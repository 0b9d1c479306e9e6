"""Conjugate gradients for symmetric positive definite A X = B, with A and a preconditioner P as functions.

    X += alpha S        R -= alpha A S        alpha = <R, Z> / <S, A S>
    S = Z + beta S      Z = P^-1 R            beta = <R, Z> / <R, Z before>

R drifts from B - A X by rounding, so it is formed anew where it says that the end is reached, and the
iteration goes on from there while that still helps. Source: Golub and Van Loan, Matrix Computations, section
11.5; van der Vorst and Ye 2000 for the formed residual.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from revgn.arrays import Array, array_namespace, to_host, unwarned
from revgn.linalg.factor import norm

Outcome = Literal["converged", "stagnated", "out-of-iterations"]
OUTCOMES: tuple[Outcome, ...] = ("converged", "stagnated", "out-of-iterations")

_PATIENCE = 50  # iterations in which <R, Z> has to fall ...
_FALL = 0.99  # ... to this share of the least so far


class CGSolution(NamedTuple):
    """X, |B - A X| / |B|, the number of products with A spent in iterations, and how it ended."""

    solution: Array
    residual: float
    iterations: int
    outcome: Outcome


@unwarned()  # the numbers are looked at
def conjugate_gradients(
    product: Callable[[Array], Array],
    B: Array,
    precondition: Callable[[Array], Array],
    *,
    tolerance: float,
    max_iterations: int,
) -> CGSolution:
    """Solve A X = B from X = 0.

    Parameters
    ----------
    product, precondition : callable
        A and P^-1, symmetric and positive definite, as functions of arrays in the shape of B.
    B : array
        Of any shape; <., .> is the sum of the products of all elements.
    tolerance : float
        |B - A X| / |B| to be reached.
    max_iterations : int
        Products with A allowed, the formed residuals not counted.

    Returns
    -------
    CGSolution
        The outcome says whether the tolerance was reached ("converged"), was not in the allowed number
        ("out-of-iterations"), or is out of reach ("stagnated"): of rounding, of a singular A with a B that
        it does not reach, or where A or P is not positive definite.

    Notes
    -----
    Law: in exact arithmetic X is right after as many iterations as P^-1 A has different eigenvalues.
    Cost: a product and a preconditioning an iteration, and as many waits for the device: one.

    Examples
    --------
    >>> import numpy as np
    >>> A, B = np.diag([1.0, 2.0]), np.array([1.0, 1.0])
    >>> found = conjugate_gradients(
    ...     lambda X: A @ X, B, lambda R: R, tolerance=1e-12, max_iterations=9
    ... )
    >>> found.solution.round(12), found.iterations, found.outcome
    (array([1. , 0.5]), 2, 'converged')
    """
    size = norm(B)
    if not 0 < size < math.inf:
        return CGSolution(0.0 * B, 0.0 if size == 0 else math.nan, 0, "stagnated" if size else "converged")
    unit = B / size  # whose squares are within the dtype's range
    X, R, done, residual, goal = 0.0 * unit, unit, 0, 1.0, tolerance
    while True:
        before = residual, X, R
        X, done, outcome = _descend(product, X, R, precondition, goal, done, max_iterations)
        R = unit - product(X)
        residual = norm(R)
        if outcome != "out-of-iterations" and not residual < before[0]:
            residual, X, R = before
        if residual <= tolerance:
            outcome = "converged"
        elif outcome == "converged" and residual < 0.5 * before[0]:  # go on from the formed one
            goal = 0.5 * tolerance
            continue
        elif outcome == "converged":
            outcome = "stagnated"
        return CGSolution(size * X, residual, done, outcome)


def _descend(
    product: Callable[[Array], Array],
    X: Array,
    R: Array,
    precondition: Callable[[Array], Array],
    goal: float,
    done: int,
    max_iterations: int,
) -> tuple[Array, int, Outcome]:
    """Iterate until the updated |R| <= goal; a stagnation is answered with the best X by <R, Z>."""
    xp = array_namespace(R)
    Z = precondition(R)
    S, RZ = Z, xp.sum(R * Z)
    best, best_X, mark, marked_at = math.inf, X, math.inf, done
    while done < max_iterations:
        AS = product(S)
        alpha = RZ / xp.sum(S * AS)
        X, R, done = X + alpha * S, R - alpha * AS, done + 1
        Z = precondition(R)
        before, RZ = RZ, xp.sum(R * Z)
        step, fitness, square = (float(number) for number in to_host(xp.stack((alpha, RZ, xp.sum(R * R)))))
        if not (0 < step < math.inf and 0 <= fitness < math.inf and square < math.inf):
            return best_X, done, "stagnated"
        if math.sqrt(square) <= goal:
            return X, done, "converged"
        if fitness < best:
            best, best_X = fitness, X
        if best < _FALL * mark:
            mark, marked_at = best, done
        elif done - marked_at >= _PATIENCE:
            return best_X, done, "stagnated"
        S = Z + (RZ / before) * S
    return X, done, "out-of-iterations"
