"""The pseudoinverse of a matrix, applied: X = A^+ V.

    n <= m:  A^+ V = A^T (A A^T + mu I)^-1 V
    n >  m:  A^+ V = (A^T A + mu I)^-1 A^T V

with iterative refinement against A itself: its residual decides whether a rung of the ladder of
`factor` was good enough. Golub and Van Loan, Matrix Computations, sections 5.3 and 3.5.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from revgn.arrays import Array, Deferred, add, matmul, read, subtract
from revgn.errors import ShapeError
from revgn.linalg.factor import (
    RUNGS,
    Factor,
    Factored,
    FactorInfo,
    Rung,
    begin_factor,
    begin_solve,
    project,
    solve_checked,
)
from revgn.linalg.gram import gram_columns, gram_rows
from revgn.linalg.truncation import PinvRule

Evaluate = Callable[
    [Array, Array, tuple[Array, Array] | None, Factor, FactorInfo], tuple[tuple[Array, Array], Array]
]


@dataclass(frozen=True, slots=True, eq=False)
class Pinv:
    """A factored pseudoinverse of `matrix` A (n, m)."""

    matrix: Array
    rule: PinvRule
    factor: Factor
    info: FactorInfo


class PinvInfo(NamedTuple):
    """What a pseudoinverse did: its factorization, and the relative residual of its equation.

    `residual` is |V - A X - mu Y| / |V| within the kept range, with X = A^T Y, where n <= m; and
    |A^T (V - A X) - mu X| / |A^T V| where n > m.
    """

    rung: Rung
    order: int
    rank: int
    s_max: float
    s_min: float
    damping: float
    residual: float


class PinvSolution(NamedTuple):
    """X = A^+ V (m, p), and what it realizes, A X (n, p)."""

    solution: Array
    realized: Array
    info: PinvInfo


class BegunPinvSolution(NamedTuple):
    """X and A X of a `PinvSolution` whose residual is not known yet; None in place of one too large."""

    solution: Array
    realized: Array
    info: Deferred[PinvInfo | None]


def factor_pinv(A: Array, rule: PinvRule) -> Pinv:
    """Factor the smaller Gram matrix of A (n, m), of order min(n, m).

    Notes
    -----
    Cost: n m min(n, m) for the Gram matrix and a third of min(n, m)^3 for Cholesky.

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
    """`factor_pinv` without a wait for the device, so that many may be read at once."""
    if A.ndim != 2:
        raise ShapeError(f"factor_pinv: A has shape {A.shape}; expected a matrix")
    return _begin_factor(A, rule, RUNGS[0]).then(lambda found: Pinv(A, rule, *found))


def apply_pinv(pinv: Pinv, V: Array) -> PinvSolution:
    """Return X = A^+ V with A X and the residual, climbing the ladder where the residual is too large.

    Parameters
    ----------
    V : (n, p)
        In the dtype of A.

    Notes
    -----
    Law: X is the least-norm least-squares solution; A A^+ A = A and the other Penrose identities,
    up to the truncation and damping of the rule.
    Cost: 2 n m p for X, as much for A X, again for each refinement.

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
    """`apply_pinv` without a wait for the device, and without a second rung: see `begin_solve`."""
    B, evaluate = _equation(pinv, V)
    (X, AX), residual = begin_solve(pinv.factor, pinv.info, B, evaluate)
    info = residual.then(lambda found: None if found is None else PinvInfo(*pinv.info, found))
    return BegunPinvSolution(X, AX, info)


def _equation(pinv: Pinv, V: Array) -> tuple[Array, Evaluate]:
    """B of the equation that is solved for V, and X, A X and the misfit of its solution Z."""
    A = pinv.matrix
    if V.shape[:1] != A.shape[:1]:
        raise ShapeError(f"apply_pinv: V is {V.shape} but A is {A.shape}: rows differ")
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
    return begin_factor(
        lambda dtype: form(A, dtype), min(A.shape), A, rule, damping_unit="largest", first_rung=first_rung
    )
