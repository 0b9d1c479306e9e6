"""Conjugate gradients for A X = B, with A symmetric positive definite and a preconditioner P.

A and P^-1 are functions. An iteration updates the solution X, the residual R and the search direction S:

    X += alpha S        R -= alpha A S        alpha = <R, Z> / <S, A S>
    S = Z + beta S      Z = P^-1 R            beta = <R, Z> / <R, Z>_old

R drifts away from B - A X by rounding. Once R is small enough, B - A X is therefore computed anew, and the
iteration continues from it as long as the residual still falls. Source: Golub and Van Loan, Matrix
Computations, section 11.5; van der Vorst and Ye 2000 for the recomputed residual.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from revgn.arrays import Array, array_namespace, runs_ahead, to_host, unwarned
from revgn.linalg.norms import norm

Outcome = Literal["converged", "stagnated", "out-of-iterations"]
OUTCOMES: tuple[Outcome, ...] = ("converged", "stagnated", "out-of-iterations")

_PATIENCE = 50  # iterations within which <R, Z> must fall ...
_FALL = 0.99  # ... to this fraction of its smallest value so far
_ROUND = 4  # iterations between two waits for a device that runs ahead


class CGSolution(NamedTuple):
    """Solution X, residual |B - A X| / |B|, number of iterations, and outcome."""

    solution: Array
    residual: float
    iterations: int
    outcome: Outcome


@unwarned()  # the numbers are checked
def conjugate_gradients(
    product: Callable[[Array], Array],
    B: Array,
    precondition: Callable[[Array], Array],
    *,
    tolerance: float,
    max_iterations: int,
) -> CGSolution:
    """Solve A X = B by conjugate gradients, starting from X = 0.

    Parameters
    ----------
    product, precondition : callable
        A and P^-1, symmetric and positive definite, as functions of arrays of the shape of B.
    B : array
        Right-hand side of any shape; <., .> is the sum of the products of all elements.
    tolerance : float
        Relative residual |B - A X| / |B| at which the iteration ends.
    max_iterations : int
        Largest number of products with A, not counting those for recomputed residuals.

    Returns
    -------
    CGSolution
        The outcome is "converged" if the tolerance was reached, and "out-of-iterations" if it was not reached
        in the allowed number. It is "stagnated" if the tolerance cannot be reached: because of rounding,
        because B is not in the range of a singular A, or because A or P is not positive definite.

    Notes
    -----
    Law: in exact arithmetic, X is exact after as many iterations as P^-1 A has distinct eigenvalues.
    Cost: one product and one preconditioning per iteration. A device that runs ahead is waited for once in
    four iterations, and up to three iterations after the last one are then without use.

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
    unit = B / size  # its squares are within the dtype's range
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
        elif outcome == "converged" and residual < 0.5 * before[0]:  # continue from B - A X
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
    """Iterate until the updated |R| <= goal; after stagnation, return the X of the smallest <R, Z>."""
    xp, many = array_namespace(R), _ROUND if runs_ahead(R) else 1
    Z = precondition(R)
    S, RZ = Z, xp.sum(R * Z)
    best, best_X, mark, marked_at = math.inf, X, math.inf, done
    while done < max_iterations:
        solutions, numbers = [], []
        for _ in range(min(many, max_iterations - done)):
            AS = product(S)
            alpha = RZ / xp.sum(S * AS)
            X, R = X + alpha * S, R - alpha * AS
            Z = precondition(R)
            before, RZ = RZ, xp.sum(R * Z)
            S = Z + (RZ / before) * S
            solutions.append(X)
            numbers += [alpha, RZ, xp.sum(R * R)]
        of_round = np.reshape(to_host(xp.stack(numbers)), (-1, 3)).tolist()
        for of, (step, fitness, square) in zip(solutions, of_round, strict=True):
            done += 1
            if not (0 < step < math.inf and 0 <= fitness < math.inf and square < math.inf):
                return best_X, done, "stagnated"
            if math.sqrt(square) <= goal:
                return of, done, "converged"
            if fitness < best:
                best, best_X = fitness, of
            if best < _FALL * mark:
                mark, marked_at = best, done
            elif done - marked_at >= _PATIENCE:
                return best_X, done, "stagnated"
    return X, done, "out-of-iterations"
