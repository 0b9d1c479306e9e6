"""The laws of a solver of J D = eps; each check raises `AssertionError` if its law does not hold.

generalized inverse   J G J = J, where the step D = G eps is linear in eps
rho                   the reported `info.rho` is |J D - eps| / |eps|, computed with a separate jvp
"""

import math

import numpy as np

from revgn.arrays import Array
from revgn.solvers import Jacobian, Solver, apply, solve
from revgn.testing.compare import (
    assert_close,
    assert_same_kind,
    draw_like,
    relative_error,
    snapshot,
    tolerance,
)


def check_generalized_inverse(solver: Solver, J: Jacobian, *, seed: int = 0) -> None:
    """Check J G J = J: each change of the outputs in the range of J is produced exactly.

    Parameters
    ----------
    solver : struct
        A solver without damping or truncation. A block-wise solver also requires features of full rank.
    J : Jacobian
        The Jacobian of the outputs with respect to the parameters.
    seed : int
        Seed of the random D.

    Notes
    -----
    Law: J (G (J D)) = J D. Cost: a solve and two jvp.
    """
    name = type(solver).__name__
    wanted = apply(J, draw_like(np.random.default_rng(seed), J.params))
    D, _ = solve(solver, J, wanted)
    assert_close(f"{name}: J G J = J", apply(J, D), wanted, tolerance(wanted.dtype, "solve"))


def check_reported_rho(solver: Solver, J: Jacobian, eps: Array) -> None:
    """Check that the reported rho is correct.

    Also check that the step has the structure of the parameters, and that arguments do not change. The solver
    may be damped or truncated.

    Notes
    -----
    Law: info.rho = |J D - eps| / |eps|; the same arguments give the same bits. Cost: two solves and a jvp.
    """
    name = type(solver).__name__
    before = snapshot((J.params, J.point, eps))
    D, info = solve(solver, J, eps)
    again, _ = solve(solver, J, eps)
    assert_same_kind(f"{name}: the step has the structure of the parameters", D, J.params)
    assert_close(f"{name}: two calls of solve give the same step", again, D, 0.0)
    if snapshot((J.params, J.point, eps)) != before:
        raise AssertionError(f"{name}: solve changed its arguments")
    measured = relative_error(apply(J, D), eps)
    limit = tolerance(eps.dtype, "map")
    if not math.isclose(info.rho, measured, rel_tol=limit, abs_tol=limit):
        raise AssertionError(f"{name}: rho is reported as {info.rho:.3e}, but is {measured:.3e}")


def check_solver(solver: Solver, J: Jacobian, eps: Array, *, seed: int = 0) -> None:
    """Check both laws of a solver: `check_generalized_inverse` and `check_reported_rho`."""
    check_reported_rho(solver, J, eps)
    check_generalized_inverse(solver, J, seed=seed)
