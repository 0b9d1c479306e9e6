"""Application of the pseudoinverse of a matrix A (n, m): X = A^+ V.

    n <= m:  A^+ V = A^T (A A^T + mu I)^-1 V
    n >  m:  A^+ V = (A^T A + mu I)^-1 A^T V

mu is the damping, relative to the largest eigenvalue of A A^T, or n times a given number. X is improved by
iterative refinement. Its residual is computed with A, not with the Gram matrix, and decides whether a rung of
`factor` was accurate enough. Source: Golub and Van Loan, Matrix Computations, sections 5.3 and 3.5.3.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from revgn.arrays import Array, Deferred, add, matmul, read, runs_ahead, subtract
from revgn.errors import ShapeError
from revgn.linalg.checked import Evaluate, begin_solve, solve_checked
from revgn.linalg.factor import DampingScale, begin_factor
from revgn.linalg.factors import RUNGS, Factor, Factored, FactorInfo, Rung, project
from revgn.linalg.gram import gram_columns, gram_rows
from revgn.linalg.truncation import PinvRule


@dataclass(frozen=True, slots=True, eq=False)
class Pinv:
    """Factored pseudoinverse of `matrix` A (n, m)."""

    matrix: Array
    rule: PinvRule
    factor: Factor
    info: FactorInfo


class PinvInfo(NamedTuple):
    """Description of a pseudoinverse: its factorization, and the relative residual of its equation.

    For n <= m, `residual` is |V - A X - mu Y| / |V| with X = A^T Y, after projection onto the singular
    vectors that are kept. For n > m, it is |A^T (V - A X) - mu X| / |A^T V|.
    """

    rung: Rung
    order: int
    rank: int
    s_max: float
    s_min: float
    damping: float
    residual: float


class PinvSolution(NamedTuple):
    """Solution X = A^+ V (m, p), the product A X (n, p) that it realizes, and its info."""

    solution: Array
    realized: Array
    info: PinvInfo


class BegunPinvSolution(NamedTuple):
    """A `PinvSolution` whose residual is not known yet.

    Its info is read as None if the residual is too large.
    """

    solution: Array
    realized: Array
    info: Deferred[PinvInfo | None]


def factor_pinv(A: Array, rule: PinvRule) -> Pinv:
    """Factor the smaller Gram matrix of A (n, m), of order min(n, m).

    Notes
    -----
    Cost: n m min(n, m) operations for the Gram matrix and min(n, m)^3 / 3 for Cholesky.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.linalg import PinvRule
    >>> pinv = factor_pinv(np.ones((2, 50)), PinvRule())
    >>> pinv.info.rank, pinv.info.order
    (1, 2)
    """
    return read(begin_pinv(A, rule))


def begin_pinv(A: Array, rule: PinvRule) -> Deferred[Pinv]:
    """Start `factor_pinv` without waiting for the device, so that many can be read at once."""
    if A.ndim != 2:
        raise ShapeError(f"factor_pinv: A has shape {A.shape}; expected a matrix")
    return _begin_factor(A, rule, RUNGS[0]).then(lambda found: Pinv(A, rule, *found))


def apply_pinv(pinv: Pinv, V: Array) -> PinvSolution:
    """Return X = A^+ V, A X and the residual; the next rung is tried if the residual is too large.

    Parameters
    ----------
    V : (n, p)
        In the dtype of A.

    Notes
    -----
    Law: X is the least-squares solution of least norm; A A^+ A = A and the other Penrose identities hold, up
    to the truncation and damping of the rule.
    Cost: 2 n m p operations for X and the same for A X; both again for each refinement.

    Examples
    --------
    >>> import numpy as np
    >>> from revgn.linalg import PinvRule
    >>> A = np.array([[3.0, 4.0]])
    >>> apply_pinv(factor_pinv(A, PinvRule()), np.array([[5.0]])).solution.round(12)
    array([[0.6],
           [0.8]])
    """
    A = pinv.matrix
    B, evaluate = _equation(pinv, V)
    (X, AX), info, residual = solve_checked(
        pinv.factor, pinv.info, B, evaluate, lambda rung: read(_begin_factor(A, pinv.rule, rung))
    )
    return PinvSolution(X, AX, PinvInfo(*info, residual))


def begin_apply_pinv(pinv: Pinv, V: Array) -> BegunPinvSolution:
    """Start `apply_pinv` without waiting for the device; no other rung is tried (see `begin_solve`)."""
    B, evaluate = _equation(pinv, V)
    (X, AX), residual = begin_solve(pinv.factor, pinv.info, B, evaluate)
    info = residual.then(lambda found: None if found is None else PinvInfo(*pinv.info, found))
    return BegunPinvSolution(X, AX, info)


def _equation(pinv: Pinv, V: Array) -> tuple[Array, Evaluate[tuple[Array, Array]]]:
    """Return the right-hand side B for V, and a function that returns X, A X and the residual of Z."""
    A = pinv.matrix
    if V.shape[:1] != A.shape[:1]:
        raise ShapeError(f"apply_pinv: V has shape {V.shape} and A {A.shape}; expected equal numbers of rows")
    wide = A.shape[0] <= A.shape[1]

    def evaluate(
        Z: Array, dZ: Array, before: tuple[Array, Array] | None, factored: Factor, info: FactorInfo
    ) -> tuple[tuple[Array, Array], Array]:
        X = matmul(A.T, dZ) if wide else dZ
        if before is not None:
            X = add(before[0], X)
        AX = matmul(A, X)
        misfit = subtract(V, AX) if wide else matmul(A.T, subtract(V, AX))
        misfit = project(factored, misfit)
        return (X, AX), misfit - info.damping * Z if info.damping else misfit

    return V if wide else A.T @ V, evaluate


def _begin_factor(A: Array, rule: PinvRule, first_rung: Rung) -> Deferred[Factored]:
    form = gram_rows if A.shape[0] <= A.shape[1] else gram_columns
    scale: DampingScale = "largest" if rule.is_relative else "one"
    if not rule.is_relative:
        rule = replace(rule, damping=A.shape[0] * rule.damping)
    return begin_factor(
        lambda dtype: form(A, dtype),
        min(A.shape),
        A,
        rule,
        damping_scale=scale,
        first_rung=first_rung,
        invert=runs_ahead(A),
    )
