"""Costs of the minimum-norm step, and the rank of its kernel, as far as they are known before training."""

from revgn.cost import Cost, Sizes, cost
from revgn.solvers.jacobian import work_of_rows
from revgn.solvers.kernel_cost import HELD, are_few, are_summed, kernel_work, rows_memory, singular_kernel
from revgn.solvers.leave_one_out import CANDIDATES
from revgn.solvers.minimum_norm import MinimumNorm
from revgn.solvers.outputs import constrained
from revgn.solvers.tiled_kernel import UNBOUNDED, is_dense, plan_tiles

_LAUNCHES, _LAUNCHES_OF_LAYER = 83, 18  # launches of a solve, and of each layer, without the kernel
_SOLVES, _SOLVES_OF_ESTIMATES = 2, 10  # triangular solves for the solution, and for the smallest eigenvalue
_PASSES, _PASSES_OF_ESTIMATES = 4, 20  # sweeps over the factor for the solution, and for its eigenvalues


@cost.register(MinimumNorm)
def cost_minimum_norm(solver: MinimumNorm, sizes: Sizes) -> Cost:
    """Return the cost of a step. If the kernel is known to be singular, all factorizations are counted."""
    sizes_of_all = sizes
    m, sizes = constrained(solver, sizes)
    n, size, layers = sizes.samples, sizes.number, sizes.layers
    order = n * m
    moving = layers if sizes.own_rows else layers[:-1]  # layers whose cotangents differ between samples
    c, is_whole = sizes.span or sizes.outputs, is_dense("cholesky", order, size, solver.memory, sizes.limits)
    own_rows = rows_memory(sizes, m, kept=is_whole and are_few(m, len(layers), c))
    estimates = 0 if solver.damping else 1
    solves, sweeps = _SOLVES + estimates * _SOLVES_OF_ESTIMATES, _PASSES + estimates * _PASSES_OF_ESTIMATES
    work = {"pull-back": sizes.pull_back(m), "solution": work_of_rows(solver, sizes_of_all)}
    if not solver.damping:
        work["rho"] = sizes.jvp
    work["kernel"] = kernel_work(sizes, m)
    work["factor"] = order**3 / 3
    if is_whole:
        held = order**2 * size
        passes = 2 * -(-len(moving) // HELD) + sweeps
        memory = {"kernel": sizes.limits.cholesky * held}
        memory |= {"rows": own_rows} if own_rows else {}
        total, groups = Cost(work, memory, passes * held / 2, order, kernel="dense"), 1
    else:
        width = sum(layer.positions * (layer.features + m * layer.width) for layer in layers)
        plan = plan_tiles(n, m, width, size, solver.memory or UNBOUNDED, sizes.limits)
        work["pull-back"] += sizes.forward
        held = plan.at_work + min(plan.room, plan.kernel + plan.sources)
        share = plan.on_disk / (plan.kernel + plan.sources)  # fraction of all reads that come from disk
        reads = size * order**3 / (3 * plan.samples * m) + sweeps * plan.kernel
        moved = plan.on_disk + share * reads
        total = Cost(work, {"kernel": held}, 0.0, order, "tiles", plan.on_disk, moved)
        groups = -(-n // plan.samples)
    sums = m * (len(moving) + -(-len(layers) // HELD)) * groups * (groups + 1) / 2
    launches = _LAUNCHES + _LAUNCHES_OF_LAYER * len(layers) + sums
    total += Cost(launches=launches, solved=solves * order)
    if solver.damping == "leave-one-out":
        total += _cost_of_leave_one_out(solver, total, m)
    singular = singular_kernel(solver.damping, m, sizes)
    return total if singular is None else total + _cost_of_eigenvectors(solver, total, singular, sizes)


@work_of_rows.register(MinimumNorm)
def work_of_rows_minimum_norm(solver: MinimumNorm, sizes: Sizes) -> float:
    (m, sizes), c = constrained(solver, sizes), sizes.span or sizes.outputs
    is_whole = is_dense("cholesky", sizes.samples * m, sizes.number, solver.memory, sizes.limits)
    if is_whole and are_few(m, len(sizes.layers), c):  # the rows are pulled back
        n = sizes.samples
        return sum(
            2.0 * n * m * of.features * of.width if are_summed(of, n, m) else of.params for of in sizes.layers
        )
    return sizes.jvp


def _cost_of_eigenvectors(solver: MinimumNorm, once: Cost, singular: str, sizes: Sizes) -> Cost:
    """Return the cost after Cholesky fails: the kernel in double precision, its factor and eigenvectors."""
    size, limits = sizes.number, sizes.limits
    remedy = "use --damping 0.01, or more --hidden features"
    double = 2 if size == 4 else 1  # cost of an operation in double precision
    is_possible = is_dense("eigh", once.order, 8, solver.memory, limits)
    formed = double * ((size == 4) + is_possible)
    again = {"pull-back": formed * once.work["pull-back"], "kernel": formed * once.work["kernel"]}
    again["factor"] = double * (size == 4) * once.work["factor"]
    if not is_possible:
        note = f"{singular}, and its eigendecomposition exceeds the memory, so the first step fails; {remedy}"
        return Cost(again, notes=(note,))
    note = (
        f"{singular}, so Cholesky factorization fails, and each step computes an eigendecomposition, which "
        f"takes longer; {remedy}"
    )
    again["eigenvectors"] = 9.0 * once.order**3
    return Cost(again, {"eigenvectors": 8 * limits.eigh * once.order**2}, notes=(note,))


def _cost_of_leave_one_out(solver: MinimumNorm, once: Cost, rows: int) -> Cost:
    """Return the mean cost per step of choosing the damping, which forms the kernel once more."""
    share, order = 1 / solver.damping_every, once.order
    work = {part: share * once.work[part] for part in ("pull-back", "kernel")}
    work["eigenvectors"] = 9.0 * share * order**3
    work["leave-one-out"] = 2.0 * share * len(CANDIDATES) * (rows + 1) * order**2
    return Cost(work)
