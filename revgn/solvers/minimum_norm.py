"""Minimum-norm step: the smallest parameter change D that realizes the output step eps.

    D = J^T lambda        (J J^T + mu I) lambda = eps

J J^T is the tangent kernel; see `revgn.solvers.kernel`. mu is `damping` times its mean diagonal, or times n
for n samples, or chosen by `revgn.solvers.leave_one_out`; for mu = 0, D is the Moore-Penrose solution of
J D = eps. The kernel is factored in place, or by tiles if it exceeds a memory bound. Source: Golub and Van
Loan, section 5.5.

The kernel is smaller if only the centered logits are constrained (`revgn.solvers.outputs`), or only some rows
of each sample (`revgn.solvers.rows`).
"""

import math
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

from revgn import trees
from revgn.arrays import (
    Array,
    array_namespace,
    backend_of,
    is_out_of_memory,
    limits_of,
    nbytes,
)
from revgn.errors import MemoryShortageError, RunError, UsageError
from revgn.linalg import (
    RUNGS,
    CholeskyFactor,
    DampingScale,
    Factor,
    FactorInfo,
    PinvRule,
    Rung,
    damping_decides,
    factor_at,
    product_factored,
    project,
    solve_checked,
)
from revgn.linalg.tiled import TiledFactor
from revgn.networks import ChainParams
from revgn.solvers.damping import DAMPING, DAMPING_UNIT, DampingUnit
from revgn.solvers.jacobian import (
    Jacobian,
    SolveInfo,
    cast,
    check_output_step,
    combined,
    equation,
    output_change,
    output_count,
    prepared,
    residuals,
    solve,
    solve_rows,
)
from revgn.solvers.kernel import lower_kernel
from revgn.solvers.kernel_cost import are_few
from revgn.solvers.kernel_rows import pulled_back, rows_adjoint
from revgn.solvers.leave_one_out import Damping, best_damping, correlations
from revgn.solvers.outputs import OUTPUTS, Outputs, equation_of_outputs
from revgn.solvers.rows import ROWS, Rows
from revgn.solvers.tiled_kernel import (
    UNBOUNDED,
    dense_memory,
    factor_tiled_kernel,
    is_dense,
    kernel_memory,
    memory_setting,
)
from revgn.structs import setting, struct

_SUMS_SHARE = 2  # rows that are computed for each sample take at most one half of the memory bound


@struct
class MinimumNorm:
    """Minimum-norm step D = J^T (J J^T + mu I)^-1 eps, by a factorization of the kernel J J^T of order n c.

    Without damping, D is the Moore-Penrose step. With centered logits, J, eps and rho refer to c - 1
    orthonormal combinations of the logits. With m `rows`, they refer to m combinations of each sample's
    outputs, and the kernel has order n m; `rho_outputs` then refers to all outputs.

    A kernel larger than `memory` is formed and factored by tiles. Tiles that do not fit in memory are stored
    on disk, in the folder TMPDIR, or /var/tmp by default. The numerical rank is not determined in this case,
    so the kernel should be damped. CuPy factors a copy of the kernel, which takes twice the memory, and
    factors kernels of order above 46,340 by tiles.
    """

    damping: Damping = setting(
        f"{DAMPING} With leave-one-out it is chosen from the batch.",
        default=0.0,
        ge=0,
        resumable=True,
        chosen=True,
    )
    outputs: Outputs = setting(OUTPUTS, default="logits", chosen=True)
    rows: Rows = setting(ROWS, default="all", ge=1, chosen=True)
    memory: int | None = memory_setting()
    damping_unit: DampingUnit = setting(DAMPING_UNIT, default="relative", resumable=True)
    damping_every: int = setting(
        "Number of steps between choices of the damping by leave-one-out.", default=10, ge=1, resumable=True
    )

    def check(self) -> None:
        """Raise `UsageError` if the damping is chosen, but its unit is absolute."""
        if self.damping == "leave-one-out" and self.damping_unit == "absolute":
            raise UsageError(
                "MinimumNorm: damping leave-one-out is relative; remove damping_unit, or give the damping as "
                "a number"
            )


@solve.register(MinimumNorm)
def solve_minimum_norm(solver: MinimumNorm, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    solved = equation(solver, J, eps)
    D, info = solve_rows_minimum_norm(solved.solver, solved.jacobian, solved.eps, inspect=True)
    change = output_change(solved.jacobian, D) if info.change is None else info.change
    measured, of_outputs = residuals(solved, change)
    return D, info._replace(rho=measured, rho_outputs=of_outputs, change=change, is_measured=True)


@solve_rows.register(MinimumNorm)
def solve_rows_minimum_norm(
    solver: MinimumNorm, J: Jacobian, eps: Array, inspect: bool
) -> tuple[ChainParams, SolveInfo]:
    """Solve the equation; with damping, the residual eps - J D = mu lambda + R follows from it.

    R is the residual of lambda, computed with the factor. With little or no damping, the kernel may be
    singular up to rounding, so J D is computed with a jvp, and its residual decides whether the solution is
    accurate.
    """
    check_output_step(J, eps)
    started = perf_counter()
    J = prepared(solver, J)
    if solver.damping == "leave-one-out":
        solver = replace(solver, damping=best_damping(left_out(solver, J, eps)))
    found = _factor(solver, J, eps, "cholesky", inspect)
    if found is None:
        order, memory = eps.shape[0] * eps.shape[1], kernel_memory(solver.memory, backend_of(eps))
        raise RunError(
            f"solve(MinimumNorm): the kernel of order {order:,} is singular up to rounding, "
            f"and its eigendecomposition does not fit in {memory:,} bytes; use damping > 0 or more memory"
        )
    factored_at = perf_counter()
    B, (damping, scale) = _by_output(eps), _damping_of_kernel(solver, eps.shape[0])
    is_damped = scale == "mean" and damping_decides(damping, math.prod(eps.shape), eps)

    def evaluate(
        Z: Array, dZ: Array, before: _Solved | None, factored: Factor, info: FactorInfo
    ) -> tuple[_Solved, Array]:
        D = rows_adjoint(J, _by_sample(dZ, eps))
        if before is not None:
            D = trees.add(before.params, D)
        if is_damped and isinstance(factored, CholeskyFactor | TiledFactor):
            misfit = B - product_factored(factored, Z)
            return _Solved(D, None, misfit + info.damping * Z), misfit
        change = output_change(J, D)
        misfit = project(factored, _by_output(eps - combined(J.outputs, change)))
        return _Solved(D, change, None), misfit - info.damping * Z if info.damping else misfit

    def refactor(rung: Rung) -> tuple[Factor, FactorInfo] | None:
        nonlocal found
        found = None  # frees the earlier factor first
        return _factor(solver, J, eps, rung, inspect)

    (D, change, left), info, residual = solve_checked(*found, B, evaluate, refactor)
    finished = perf_counter()
    return D, SolveInfo(
        rho=math.nan,
        residual=residual,
        **info._asdict(),
        block_weights=(),
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
        change=change,
        left=left,
        is_measured=change is not None,
    )


def left_out(solver: MinimumNorm, J: Jacobian, eps: Array) -> Array:
    """Return the leave-one-out `correlations` for each damping that may be chosen.

    J and eps are the Jacobian and the output step of the constrained rows.

    Raises
    ------
    RunError
        If the eigenvectors of the kernel do not fit in memory.
    """
    order, size = eps.shape[0] * eps.shape[1], nbytes((1,), eps)
    if not is_dense("eigh", order, size, solver.memory, limits_of(backend_of(eps))):
        raise RunError(
            f"solve(MinimumNorm): leave-one-out needs the eigenvectors of the kernel of order {order:,}, "
            "which exceed the memory; give the damping as a number, such as 0.1"
        )
    return correlations(lower_kernel(J), eps)


@prepared.register(MinimumNorm)
def prepared_minimum_norm(solver: MinimumNorm, J: Jacobian) -> Jacobian:
    """Pull the rows back once, if they are few, activations are kept, and the kernel is factored whole."""
    n, m, parts = J.point.output.first.shape[0], output_count(J), len(tuple(trees.leaves(J.params)))
    c = J.network.readout.first.shape[-1]
    if J.pulled is not None or J.point.points is None or not are_few(m, parts, c):
        return J
    like, backend = J.network.readout.first, backend_of(J.network.readout.first)
    size, memory = nbytes((1,), like), kernel_memory(solver.memory, backend)
    is_whole = is_dense("cholesky", n * m, size, solver.memory, limits_of(backend))
    room = math.inf if memory is None else memory / (_SUMS_SHARE * size)
    return pulled_back(J, room) if is_whole else J


class _Solved(NamedTuple):
    """Step D, the change dz/dW D (n, c) if it was computed, and the column eps - J D if it was not."""

    params: ChainParams
    change: Array | None
    left: Array | None


equation.register(MinimumNorm)(equation_of_outputs)


def _factor(
    solver: MinimumNorm, J: Jacobian, eps: Array, first: Rung, inspect: bool
) -> tuple[Factor, FactorInfo] | None:
    """Factor the kernel by the first of the factorizations `RUNGS` that succeeds, beginning with `first`.

    Each of them factors the kernel as a whole if it fits in memory, and by tiles otherwise. The result is
    None if none of them succeeds.

    Raises
    ------
    MemoryShortageError
        If the memory of the machine does not suffice. For a kernel as a whole, the error states a memory
        bound with which the kernel is factored by tiles.
    """
    order, memory = eps.shape[0] * eps.shape[1], solver.memory
    mu, scale = _damping_of_kernel(solver, eps.shape[0])
    rule = PinvRule(damping=mu)
    size, backend = nbytes((1,), eps), backend_of(eps)
    limits = limits_of(backend)
    for rung in RUNGS[RUNGS.index(first) :]:
        as_a_whole = is_dense(rung, order, size, memory, limits)
        try:
            if as_a_whole:
                found = factor_at(
                    rung,
                    lambda dtype: lower_kernel(
                        J if dtype == eps.dtype else cast(J._replace(pulled=None), dtype)
                    ),
                    order,
                    eps,
                    rule,
                    damping_scale=scale,
                    inspect=inspect,
                )
            else:
                bound = kernel_memory(memory, backend) or UNBOUNDED
                found = factor_tiled_kernel(J, mu, bound, rung, scale, inspect)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            whole = dense_memory(rung, order, size, limits)
            raise _shortage(order, whole if as_a_whole else None) from None
        if found is not None:
            return found
    return None


def _damping_of_kernel(solver: MinimumNorm, samples: int) -> tuple[float, DampingScale]:
    """Return the damping of the kernel of n samples, and its scale."""
    assert solver.damping != "leave-one-out"
    if solver.damping_unit == "absolute":
        return samples * solver.damping, "one"
    return solver.damping, "mean"


def _shortage(order: int, whole: int | None) -> MemoryShortageError:
    """Return the error for a kernel that takes `whole` bytes; `whole` is None for a kernel in tiles."""
    text = f"solve(MinimumNorm): out of memory with the kernel of order {order:,}"
    if whole is None:
        return MemoryShortageError(
            f"{text}, even by tiles; use a smaller memory bound, a smaller batch, or fewer rows"
        )
    return MemoryShortageError(
        f"{text} as a whole, which takes {whole:,} bytes; use memory={whole // 2} to factor it by tiles",
        whole // 2,
    )


def _by_output(eps: Array) -> Array:
    """Return eps (n, c) as a column (c n, 1), in the order of the kernel's rows."""
    return array_namespace(eps).reshape(eps.T, (-1, 1))


def _by_sample(Z: Array, like: Array) -> Array:
    """Return a column in the order of the kernel's rows as (n, c)."""
    n, c = like.shape
    return array_namespace(Z).reshape(Z, (c, n)).T
