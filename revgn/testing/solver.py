"""The laws of a solver of J D = eps; each check raises `AssertionError` where its law does not hold.

generalized inverse   J G J = J, with G eps = D linear in eps
rho                   what `info` reports is |J D - eps| / |eps|, by a jvp of one's own
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
    """Check J G J = J: whatever J can reach, the solver reaches exactly.

    Parameters
    ----------
    solver : struct
        Neither damped nor truncated, and with features of full rank if it works block by block.
    seed : int
        Of the random D.

    Notes
    -----
    Law: J (G (J D)) = J D. Cost: a solve and two jvp.
    """
    name = type(solver).__name__
    wanted = apply(J, draw_like(np.random.default_rng(seed), J.params))
    D, _ = solve(solver, J, wanted)
    assert_close(f"{name}: J G J = J", apply(J, D), wanted, tolerance(wanted.dtype, "solve"))


def check_reported_rho(solver: Solver, J: Jacobian, eps: Array) -> None:
    """Check that the reported rho is the measured one, the step is like the parameters, and nothing changes.

    Any solver will do, also a damped or truncated one.

    Notes
    -----
    Law: info.rho = |J D - eps| / |eps|; the same arguments give the same bits. Cost: two solves, a jvp.
    """
    name = type(solver).__name__
    before = snapshot((J.params, J.point, eps))
    D, info = solve(solver, J, eps)
    again, _ = solve(solver, J, eps)
    assert_same_kind(f"{name}: the step is like the parameters", D, J.params)
    assert_close(f"{name}: solve gives the same twice", again, D, 0.0)
    if snapshot((J.params, J.point, eps)) != before:
        raise AssertionError(f"{name}: solve changed its arguments")
    measured = relative_error(apply(J, D), eps)
    limit = tolerance(eps.dtype, "map")
    if not math.isclose(info.rho, measured, rel_tol=limit, abs_tol=limit):
        raise AssertionError(f"{name}: rho is reported as {info.rho:.3e}, measured {measured:.3e}")


def check_solver(solver: Solver, J: Jacobian, eps: Array, *, seed: int = 0) -> None:
    """Check both laws of a generalized inverse; see `check_generalized_inverse`, `check_reported_rho`."""
    check_reported_rho(solver, J, eps)
    check_generalized_inverse(solver, J, seed=seed)
