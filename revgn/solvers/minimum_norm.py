"""The Moore-Penrose step: the smallest parameter change that realizes what is wanted at the output.

    D = J^T lambda        (J J^T + mu I) lambda = eps

J J^T is the tangent kernel of `revgn.solvers.kernel`, factored in place, or by tiles where it is larger than
it may be; mu is `damping` times its mean diagonal. Source: Golub and Van Loan, section 5.5.

Softmax does not depend on a constant added to all outputs of a sample, so it is enough to realize the
centered logits eps Q, with Q (c, c-1) orthonormal and orthogonal to the ones: a smaller kernel and step.
Fewer rows of each sample may be constrained: see `revgn.solvers.rows`.
"""

import math
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

from revgn import trees
from revgn.arrays import (
    Array,
    array_namespace,
    backend_of,
    is_out_of_memory,
    limits_of,
    matmul,
    nbytes,
)
from revgn.cost import Cost, Sizes, cost
from revgn.errors import MemoryShortageError, RunError, ShapeError, UsageError
from revgn.linalg import RUNGS, Factor, FactorInfo, PinvRule, Rung, factor_at, project, solve_checked
from revgn.maps import KernelPart
from revgn.networks import ChainParams
from revgn.solvers.jacobian import (
    Equation,
    Jacobian,
    Key,
    SolveInfo,
    apply_adjoint,
    cast,
    check_wanted,
    combined,
    equation,
    output_change,
    residuals,
    solve,
)
from revgn.solvers.kernel import HELD, adjoint_of_parts, are_few, lower_kernel, parts_backward
from revgn.solvers.rows import ROWS, Rows, with_rows
from revgn.solvers.tiled_kernel import (
    dense_memory,
    factor_tiled_kernel,
    is_dense,
    kernel_memory,
    plan_tiles,
)
from revgn.structs import setting, struct

_HIDDEN = 0.8  # share of its order below which a kernel's rank at W = 0 was seen to matter after it
_UNBOUNDED = 2**62  # bytes
_LAUNCHES, _LAUNCHES_OF_LAYER = 83, 18  # beside those of the kernel's pieces
_SOLVES = 12  # triangular ones: estimates of the smallest eigenvalue, a solution
_PASSES = 24  # over the factor: estimates of its eigenvalues, a solution, a refinement
Outputs = Literal["logits", "centered-logits"]
_DAMPING = "Damping mu, relative to the mean diagonal of the kernel."
_OUTPUTS = "Outputs that are constrained: all logits, or logits modulo a constant, which softmax ignores."


def bytes_setting(meaning: str) -> Any:
    """Setting of a solver's memory; None by default."""
    return setting(meaning, default=None, ge=1, le=2**62, size=True, resumable=True)


@struct
class MinimumNorm:
    """D = J^T (J J^T + mu I)^-1 eps, by the kernel of order n c; undamped the Moore-Penrose step.

    With centered logits J, eps and rho are those of c - 1 orthonormal contrasts of the logits; with m `rows`
    those of m combinations of each sample's outputs, the kernel has order n m, and rho_outputs is that of
    all outputs. A kernel larger than `memory` is formed and factored by tiles, which go to disk where memory
    does not suffice (folder: TMPDIR, else /var/tmp); its numerical rank is then not found, so it should be
    damped. CuPy factors a copy, so that a kernel takes twice its size, and one of an order above 46,340 goes
    by tiles.
    """

    damping: float = setting(_DAMPING, default=0.0, ge=0, resumable=True)
    outputs: Outputs = setting(_OUTPUTS, default="logits")
    rows: Rows = setting(ROWS, default="all", ge=1)
    memory: int | None = bytes_setting(
        "Memory for the kernel in bytes, such as 4GB; by default half of the machine's. A larger kernel is "
        "factored by tiles."
    )


@solve.register(MinimumNorm)
def solve_minimum_norm(solver: MinimumNorm, J: Jacobian, eps: Array) -> tuple[ChainParams, SolveInfo]:
    solved = equation(solver, J, eps)
    J, eps = solved.jacobian, solved.wanted
    check_wanted(J, eps)
    started = perf_counter()
    parts = _kept_parts(solver, J, eps)
    found = _factor(solver, J, eps, "cholesky", parts)
    if found is None:
        order, memory = eps.shape[0] * eps.shape[1], kernel_memory(solver.memory, backend_of(eps))
        raise RunError(
            f"solve(MinimumNorm): the kernel of order {order:,} is singular to rounding, "
            f"and its eigenvectors have no room in {memory:,} bytes; take damping > 0, or more memory"
        )
    factored_at = perf_counter()

    def evaluate(
        Z: Array, dZ: Array, before: tuple[ChainParams, Array] | None, factored: Factor, info: FactorInfo
    ) -> tuple[tuple[ChainParams, Array], Array]:
        v = _by_sample(dZ, eps)
        D = apply_adjoint(J, v) if parts is None else adjoint_of_parts(J, parts, v)
        if before is not None:
            D = trees.add(before[0], D)
        change = output_change(J, D)
        misfit = project(factored, _by_output(eps - combined(J.outputs, change)))
        return (D, change), misfit - info.damping * Z if info.damping else misfit

    def refactor(rung: Rung) -> tuple[Factor, FactorInfo] | None:
        nonlocal found
        found = None  # what was factored before goes first
        return _factor(solver, J, eps, rung, parts)

    (D, change), info, residual = solve_checked(*found, _by_output(eps), evaluate, refactor)
    measured, of_outputs = residuals(solved, change)
    finished = perf_counter()
    return D, SolveInfo(
        rho=measured,
        residual=residual,
        **info._asdict(),
        block_weights=(),
        seconds_kernel=factored_at - started,
        seconds_solve=finished - factored_at,
        rho_outputs=of_outputs,
        change=change,
    )


@equation.register(MinimumNorm)
def equation_of_outputs(solver: Any, J: Jacobian, eps: Array, key: Key = (0, 0)) -> Equation:
    """J and eps of all logits or of the centered ones, or of some rows of each sample."""
    whole = replace(solver, outputs="logits", rows="all")
    if solver.outputs == "centered-logits":
        if J.outputs is not None:
            raise UsageError(
                f"solve({type(solver).__name__}): J has combined outputs already; take outputs='logits'"
            )
        Q = centering(eps)
        J, eps = J._replace(outputs=Q), matmul(eps, Q)
    return with_rows(solver, whole, J, eps, key)


@cost.register(MinimumNorm)
def cost_minimum_norm(solver: MinimumNorm, sizes: Sizes) -> Cost:
    """Where the kernel is known to be singular, the work of every rung of the ladder."""
    m, sizes = constrained(solver, sizes)
    n, size, layers = sizes.samples, sizes.number, sizes.layers
    order = n * m
    moving = layers if sizes.own_rows else layers[:-1]  # whose cotangents differ from sample to sample
    work = {"pull-back": sizes.pull_back(m), "solve and rho": 2 * sizes.jvp}
    work["kernel"] = sum(layer.gram for layer in layers)
    work["kernel"] += float(order) ** 2 * sum(layer.width for layer in moving)
    work["factor"] = order**3 / 3
    if is_dense("cholesky", order, size, solver.memory, sizes.limits):
        held = order**2 * size
        passes = 2 * -(-len(moving) // HELD) + _PASSES
        memory = {"kernel": sizes.limits.cholesky * held}
        if sizes.own_rows and are_few(m, len(layers), sizes.span or m):  # one sweep back for both
            work["solve and rho"] = sizes.jvp + sum(layer.params for layer in layers)
        total, groups = Cost(work, memory, passes * held / 2, order, kernel="dense"), 1
    else:
        width = sum(layer.features + m * layer.width for layer in layers)
        plan = plan_tiles(n, m, width, size, solver.memory or _UNBOUNDED, sizes.limits)
        work["pull-back"] += sizes.forward
        held = plan.at_work + min(plan.room, plan.kernel + plan.sources)
        share = plan.on_disk / (plan.kernel + plan.sources)  # of all that is read
        reads = size * order**3 / (3 * plan.samples * m) + _PASSES * plan.kernel
        moved = plan.on_disk + share * reads
        total = Cost(work, {"kernel": held}, 0.0, order, "tiles", plan.on_disk, moved)
        groups = -(-n // plan.samples)
    sums = m * (len(moving) + -(-len(layers) // HELD)) * groups * (groups + 1) / 2
    launches = _LAUNCHES + _LAUNCHES_OF_LAYER * len(layers) + sums
    total += Cost(launches=launches, solved=_SOLVES * order)
    singular = singular_kernel(solver.damping, m, sizes)
    return total if singular is None else total + _cost_of_eigenvectors(solver, total, singular, sizes)


def _cost_of_eigenvectors(solver: MinimumNorm, once: Cost, singular: str, sizes: Sizes) -> Cost:
    """Cost beyond one rung: the rungs in double precision, which form the kernel anew, and eigenvectors."""
    size, limits = sizes.number, sizes.limits
    remedy = "take --damping 0.01, or more --hidden features"
    double = 2 if size == 4 else 1  # what an operation in double precision counts
    is_possible = is_dense("eigh", once.order, 8, solver.memory, limits)
    formed = double * ((size == 4) + is_possible)
    again = {"pull-back": formed * once.work["pull-back"], "kernel": formed * once.work["kernel"]}
    again["factor"] = double * (size == 4) * once.work["factor"]
    if not is_possible:
        note = f"{singular}, and its eigenvectors have no room in the memory: the first step fails; {remedy}"
        return Cost(again, notes=(note,))
    note = (
        f"{singular}, so each step finds its eigenvectors after Cholesky fails, which takes longer; {remedy}"
    )
    again["eigenvectors"] = 9.0 * once.order**3
    return Cost(again, {"eigenvectors": 8 * limits.eigh * once.order**2}, notes=(note,))


def constrained(solver: Any, sizes: Sizes) -> tuple[int, Sizes]:
    """Rows of J for each sample, and the sizes with these rows for outputs."""
    m = sizes.outputs - (solver.outputs == "centered-logits")
    if solver.rows == "all":
        return m, sizes
    return solver.rows, sizes._replace(own_rows=True, span=sizes.span or sizes.outputs)


def singular_kernel(damping: float, rows: int, sizes: Sizes) -> str | None:
    """Beginning of a note where the undamped kernel is known to be singular, else None."""
    order, rank, when = sizes.samples * rows, sizes.rank_bound(rows), ""
    at_zero = sizes.rank_at_zero(rows)
    if sizes.starts_at_zero and at_zero < min(rank, _HIDDEN * order):
        rank, when = at_zero, " at first"
    if damping or rank >= order:
        return None
    return f"without damping the kernel of order {order:,} is singular (rank {rank:,} at most{when})"


def centering(like: Array) -> Array:
    """Q (c, c-1) for outputs (n, c): orthonormal columns, orthogonal to the ones (Helmert's matrix).

    Raises
    ------
    ShapeError
        If there is a single output, which softmax does not see at all.
    """
    c = like.shape[1]
    if c < 2:
        raise ShapeError("solve(MinimumNorm): a single output has no centered logits; take outputs='logits'")
    columns = [
        [(float(i < j) - j * float(i == j)) / math.sqrt(j * (j + 1)) for j in range(1, c)] for i in range(c)
    ]
    return backend_of(like).asarray(columns, dtype=like.dtype)


def _kept_parts(solver: MinimumNorm, J: Jacobian, eps: Array) -> tuple[KernelPart, ...] | None:
    """Parts of the kernel, kept to find J^T v from without another sweep back; None where that is not done.

    It is where each sample has its own rows, few of them, and the features are kept as well.
    """
    (n, m), c, parts = eps.shape, J.network.readout.first.shape[-1], len(tuple(trees.leaves(J.params)))
    if J.outputs is None or J.outputs.ndim == 2 or J.point.points is None or not are_few(m, parts, c):
        return None
    limits = limits_of(backend_of(eps))
    is_whole = is_dense("cholesky", n * m, nbytes((1,), eps), solver.memory, limits)
    return tuple(parts_backward(J)) if is_whole else None


def _factor(
    solver: MinimumNorm, J: Jacobian, eps: Array, first: Rung, parts: tuple[KernelPart, ...] | None
) -> tuple[Factor, FactorInfo] | None:
    """Factor by the first rung that can, from `first` on; each as a whole where that fits, or by tiles.

    Raises
    ------
    MemoryShortageError
        If the kernel finds no room after all; as a whole, with the bound that takes it by tiles.
    """
    order, rule, memory = eps.shape[0] * eps.shape[1], PinvRule(damping=solver.damping), solver.memory
    size, backend = nbytes((1,), eps), backend_of(eps)
    limits = limits_of(backend)
    for rung in RUNGS[RUNGS.index(first) :]:
        as_a_whole = is_dense(rung, order, size, memory, limits)
        try:
            if as_a_whole:
                found = factor_at(
                    rung,
                    lambda dtype: lower_kernel(cast(J, dtype), parts if dtype == eps.dtype else None),
                    order,
                    eps,
                    rule,
                    damping_unit="mean",
                )
            else:
                bound = kernel_memory(memory, backend) or _UNBOUNDED
                found = factor_tiled_kernel(J, solver.damping, bound, rung)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            whole = dense_memory(rung, order, size, limits)
            raise _shortage(order, whole if as_a_whole else None) from None
        if found is not None:
            return found
    return None


def _shortage(order: int, whole: int | None) -> MemoryShortageError:
    """Error of a kernel that found no room for so many bytes as a whole, or None by tiles."""
    told = f"solve(MinimumNorm): out of memory with the kernel of order {order:,}"
    if whole is None:
        return MemoryShortageError(f"{told}, even by tiles; take less memory, a smaller batch, or fewer rows")
    return MemoryShortageError(
        f"{told} as a whole, which takes {whole:,} bytes; take memory={whole // 2} to have it by tiles",
        whole // 2,
    )


def _by_output(eps: Array) -> Array:
    """Column (c n, 1) in the kernel's order."""
    return array_namespace(eps).reshape(eps.T, (-1, 1))


def _by_sample(Z: Array, like: Array) -> Array:
    """(n, c) of a column in the kernel's order."""
    n, c = like.shape
    return array_namespace(Z).reshape(Z, (c, n)).T
