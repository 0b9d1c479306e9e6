"""The Moore-Penrose step: the smallest parameter change that realizes what is wanted at the output.

    D = J^T lambda        (J J^T + mu I) lambda = eps

J J^T is the tangent kernel, formed in closed form and factored in place; mu is `damping` times its mean
diagonal. Source: Moore-Penrose inverse by normal equations (Golub and Van Loan, section 5.5); the kernel
is that of `revgn.solvers.kernel`.
"""

from dataclasses import dataclass
from time import perf_counter

from revgn import trees
from revgn.arrays import Array, array_namespace, synchronize
from revgn.linalg import Factor, FactorInfo, PinvRule, Rung, factor, project, solve_checked
from revgn.networks import ChainParams
from revgn.solvers.exactness import check_wanted, rho
from revgn.solvers.jacobian import Jacobian, SolveInfo, apply, apply_adjoint, cast, solve
from revgn.solvers.kernel import lower_kernel


@dataclass(frozen=True, slots=True)
class MinimumNorm:
    """D = J^T (J J^T + mu I)^-1 eps, by the dense kernel of order n c.

    Parameters
    ----------
    damping : float
        mu relative to the kernel's mean diagonal; 0 gives the Moore-Penrose step.
    """

    damping: float = 0.0

    def __post_init__(self) -> None:
        PinvRule(damping=self.damping)  # refuses what is not a number >= 0


@solve.register(MinimumNorm)
def solve_minimum_norm(solver: MinimumNorm, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    check_wanted(J, eps)
    started = perf_counter()
    factored, info = _factor(solver, J, eps, "cholesky")
    synchronize(eps)
    factored_at = perf_counter()

    def evaluate(
        Z: Array, dZ: Array, before: tuple[ChainParams, Array] | None, factored: Factor, info: FactorInfo
    ) -> tuple[tuple[ChainParams, Array], Array]:
        D = apply_adjoint(J, _by_sample(dZ, eps))
        if before is not None:
            D = trees.add(before[0], D)
        JD = apply(J, D)
        return (D, JD), project(factored, _by_output(eps - JD)) - info.damping * Z

    (D, JD), info, residual = solve_checked(
        factored, info, _by_output(eps), evaluate, lambda rung: _factor(solver, J, eps, rung)
    )
    measured = rho(JD, eps)
    finished = perf_counter()
    return D, SolveInfo(
        rho=measured,
        residual=residual,
        rung=info.rung,
        rank=info.rank,
        order=info.order,
        s_max=info.s_max,
        s_min=info.s_min,
        damping=info.damping,
        shares=(),
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
    )


def _factor(solver: MinimumNorm, J: Jacobian, eps: Array, rung: Rung) -> tuple[Factor, FactorInfo]:
    return factor(
        lambda dtype: lower_kernel(cast(J, dtype)),
        eps.shape[0] * eps.shape[1],
        eps,
        PinvRule(damping=solver.damping),
        damping_unit="mean",
        first_rung=rung,
    )


def _by_output(eps: Array) -> Array:
    """Column (c n, 1) in the kernel's order."""
    return array_namespace(eps).reshape(eps.T, (-1, 1))  # type: ignore[no-any-return]


def _by_sample(Z: Array, like: Array) -> Array:
    """(n, c) of a column in the kernel's order."""
    n, c = like.shape
    return array_namespace(Z).reshape(Z, (c, n)).T  # type: ignore[no-any-return]
