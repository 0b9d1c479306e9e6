"""Gauss-Newton with a generalized inverse of the Jacobian and optional momentum (SPRING).

    D_t = beta_t D_(t-1) + G (eps - beta_t J D_(t-1))        W <- W - lr D_t

J is the Jacobian of the outputs z, eps the output step of the loss, G the solver's generalized inverse of J,
and beta the momentum. beta = 0 is the rule of Buffelli et al. 2024, section 3. With momentum, the solver
computes only the correction to the previous direction (Goldshlager, Abrahamsen and Lin 2024, arXiv
2401.10190, section 3). beta = 1 is the randomized Kaczmarz method. If batches differ, a large beta can leave
a residual larger than eps itself, so beta_t is reduced until

    |eps - beta_t J D_(t-1)| <= momentum_limit |eps|

in the rows that the solver constrains. The draw of these rows depends on eps, not on the residual.

The default curvature of the loss is the identity. With the exact curvature H = R R^T, J is R^T J_z with
J_z = dz/dW, and eps solves R eps = p - y, with p the predicted probabilities and y the targets. Then
D = (J_z^T H J_z + mu I)^-1 J_z^T (p - y), with mu the solver's damping. With an `output_damping` nu, J is J_z
and eps = (H + nu I)^-1 (p - y), for any solver. With a `metric` M, D = M^-1 J^T (J M^-1 J^T)^-1 eps.
"""

import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from revgn import trees
from revgn.arrays import Array, Deferred, array_namespace, blockwise, inner, read, ready, together, zeros
from revgn.cost import Cost, Sizes, cost
from revgn.errors import ShapeError, UsageError
from revgn.linalg import begin_norms
from revgn.losses import CrossEntropy, curvature_root, damped_output_step, output_step
from revgn.networks import ChainParams, Network
from revgn.optimizers.metric import (
    FeatureMetric,
    FeatureMetricState,
    from_metric,
    in_metric,
    init_metric,
    update_metric,
)
from revgn.optimizers.optimizer import Direction, Linearization, direction, init_state
from revgn.solvers import (
    BlockWise,
    Equation,
    Jacobian,
    MinimumNorm,
    SolveInfo,
    Solver,
    begin_rho,
    combined,
    equation,
    prepared,
    rows_change,
    solve_rows,
    work_of_rows,
)
from revgn.solvers.leave_one_out import CANDIDATES, best_damping
from revgn.solvers.minimum_norm import left_out
from revgn.structs import setting, struct

_UNLIMITED = 1e30  # squared momentum limit that is never reached
_KEPT = 0.9  # weight of earlier batches in the running mean of leave-one-out correlations


@struct
class GaussNewton:
    """Gauss-Newton with a generalized inverse of the Jacobian, momentum and decoupled weight decay."""

    solver: Solver = setting(
        "Solver of J D = eps for the step D, with J the Jacobian and eps the output step.",
        default=MinimumNorm(),
        family="solver",
    )
    lr: float = setting("Learning rate.", default=1.0, gt=0, resumable=True, chosen=True)
    momentum: float = setting("Momentum beta (SPRING).", default=0.0, ge=0, le=1, chosen=True)
    momentum_limit: float = setting(
        "Upper bound on |eps - beta J D| / |eps|, with D the previous direction; beta is reduced to meet it.",
        default=1.2,
        ge=1,
        infinite=True,
    )
    metric: FeatureMetric | None = setting(
        "Norm that the step minimizes: Euclidean by default, or defined by the features seen so far.",
        default=None,
        family="metric",
    )
    curvature: Literal["identity", "exact"] = setting(
        "Curvature of the loss with respect to the outputs.", default="identity"
    )
    output_damping: float = setting(
        "Damping nu in eps = (H + nu I)^-1 g, with exact curvature H and output gradient g; 0: only the "
        "damping of the solver.",
        default=0.0,
        ge=0,
        resumable=True,
    )
    rho_every: int = setting(
        "Steps between measurements of rho; in between, it follows from the solved equation or is NaN.",
        default=100,
        ge=1,
        resumable=True,
    )
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)

    def check(self) -> None:
        """Raise `UsageError` if output damping, curvature and solver cannot be combined."""
        if self.output_damping and self.curvature != "exact":
            raise UsageError("GaussNewton: output_damping needs the exact curvature; set curvature to exact")
        if self.curvature == "exact" and not self.output_damping:
            if isinstance(self.solver, BlockWise):
                raise UsageError(
                    "GaussNewton: with the exact curvature, the block-wise solver needs output_damping > 0, "
                    "such as 0.1"
                )
            if getattr(self.solver, "outputs", "logits") != "logits":
                raise UsageError(
                    "GaussNewton: the exact curvature already centers the logits; "
                    "leave the solver's outputs at logits"
                )


class GaussNewtonState(NamedTuple):
    """Number of updates, last direction D (empty without momentum), and metric (empty if there is none).

    `damping` is empty unless leave-one-out chooses the damping.
    """

    updates: int
    direction: ChainParams
    metric: FeatureMetricState | tuple[()]
    damping: "ChosenDamping | tuple[()]" = ()


class ChosenDamping(NamedTuple):
    """Damping that leave-one-out chose last, relative to the kernel's mean diagonal.

    `correlations` is the running mean of the correlations from which it was chosen.
    """

    damping: float
    correlations: Array


def init_damping(solver: Solver, params: ChainParams) -> ChosenDamping | tuple[()]:
    """Return the state of the choice of the damping; it is empty if the damping is a number."""
    like = next(trees.leaves(params), None)
    if like is None or not isinstance(solver, MinimumNorm) or solver.damping != "leave-one-out":
        return ()
    return ChosenDamping(0.0, zeros((len(CANDIDATES),), like))


@init_state.register(GaussNewton)
def init_gauss_newton(optimizer: GaussNewton, network: Network, params: ChainParams) -> GaussNewtonState:
    last = trees.zeros_like(params) if optimizer.momentum else ()
    metric = init_metric(network, params) if optimizer.metric else ()
    return GaussNewtonState(0, last, metric, init_damping(optimizer.solver, params))


@direction.register(GaussNewton)
def direction_gauss_newton(
    optimizer: GaussNewton,
    state: GaussNewtonState,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Direction:
    solved = equation_of(optimizer, at, state.updates)
    solver, J, eps, _ = solved
    J, missed, beta = prepared(solver, J), eps, None
    if state.updates and optimizer.momentum:
        moved = rows_change(J, state.direction)
        beta = _momentum(optimizer, moved, eps)
        missed = eps - beta * moved
    measure = at.measure or not state.updates or (state.updates + 1) % optimizer.rho_every == 0
    metric = state.metric
    if optimizer.metric is None or not metric:
        solver, damping = _damped(solver, J, missed, state)
        D, info = solve_rows(solver, J, missed, measure)
    else:
        metric = update_metric(optimizer.metric, metric, J, state.updates)
        turned = in_metric(metric, J)
        solver, damping = _damped(solver, turned, missed, state)
        D, info = solve_rows(solver, turned, missed, measure)
        D = from_metric(metric, J, D)
    if beta is not None:
        D = trees.axpy(beta, state.direction, D)
    info = _of_whole_step(info._replace(is_due=measure), solved, missed, has_momentum=beta is not None)
    state = GaussNewtonState(state.updates + 1, D if optimizer.momentum else (), metric, damping)
    return Direction(D, state, info, solved)


@cost.register(GaussNewton)
def cost_gauss_newton(optimizer: GaussNewton, sizes: Sizes) -> Cost:
    copies = 2 if optimizer.momentum else 1
    total = Cost(memory={"weights and steps": copies * sizes.weights * sizes.number})
    if optimizer.metric is not None:
        total += cost(optimizer.metric, sizes)
    rows = sizes.curvature_rows
    if rows is not None and optimizer.curvature == "exact" and not optimizer.output_damping:
        sizes = sizes._replace(outputs=rows, own_rows=True, span=sizes.outputs)
    if optimizer.momentum:
        total += Cost({"momentum": work_of_rows(optimizer.solver, sizes)})
    total += Cost({"rho": sizes.jvp / optimizer.rho_every})
    return total + cost(optimizer.solver, sizes)


def _damped(
    solver: Solver, J: Jacobian, missed: Array, state: GaussNewtonState
) -> tuple[Solver, ChosenDamping | tuple[()]]:
    """Return the solver with a number as its damping, and the choice for the next state.

    Leave-one-out chooses the damping at every `damping_every`-th update; in between, the last choice is kept.
    """
    chosen = state.damping
    if not chosen:
        return solver, ()
    assert isinstance(solver, MinimumNorm)
    if state.updates % solver.damping_every == 0:
        share = max(1 - _KEPT, 1 / (state.updates // solver.damping_every + 1))  # a plain mean at first
        mean = (1 - share) * chosen.correlations + share * left_out(solver, J, missed)
        chosen = ChosenDamping(best_damping(mean), mean)
    return replace(solver, damping=chosen.damping), chosen


def _of_whole_step(info: SolveInfo, solved: Equation, missed: Array, *, has_momentum: bool) -> SolveInfo:
    """Return the solve information of the whole step, momentum included.

    `info` describes the solve for the correction. The residual J D - eps in the constrained rows is the same
    for both; the rho of the whole step is relative to eps. With momentum, the change of the other outputs is
    not known.
    """
    left, change = info.left, info.change
    if left is None and change is not None:
        left = missed - combined(solved.jacobian.outputs, change)
    numbers: list[Deferred[Any]] = []
    if math.isnan(info.rho) and left is not None:
        numbers.append(_ratio(left, solved.eps).then(lambda rho: {"rho": rho}))
    elif has_momentum:
        numbers.append(_ratio(missed, solved.eps).then(lambda ratio: {"rho": info.rho * ratio}))
    if solved.outputs is not None:
        J, eps = solved.outputs
        if change is None or has_momentum:
            numbers.append(ready({"rho_outputs": math.nan, "is_measured": False}))
        else:
            of_outputs = begin_rho(combined(J.outputs, change), eps)
            numbers.append(of_outputs.then(lambda rho: {"rho_outputs": rho}))
    for changes in read(together(numbers)):
        info = info._replace(**changes)
    return info._replace(change=None) if has_momentum else info


def _ratio(x: Array, y: Array) -> Deferred[float]:
    """Return |x| / |y|, or |x| if y is 0."""
    return begin_norms(x, y).then(lambda sizes: sizes[0] / (sizes[1] or 1.0))


def _momentum(optimizer: GaussNewton, moved: Array, eps: Array) -> Array:
    """Return beta_t as a 0-d array: the largest b <= beta with |eps - b moved| <= momentum_limit |eps|."""
    beta, limit = optimizer.momentum, optimizer.momentum_limit
    slack = min(limit * limit - 1, _UNLIMITED)  # limit**2 would raise an error for a huge limit

    def limited(along: Array, of_moved: Array, of_eps: Array) -> tuple[Array]:
        xp, most = array_namespace(along), beta + 0.0 * along
        length = xp.sqrt(xp.where(of_moved > 0, of_moved, xp.ones_like(of_moved)))
        along = along / length
        found = (along + xp.sqrt(along * along + slack * of_eps)) / length
        found = xp.where(found < most, found, most)
        return (xp.astype(xp.where(of_moved > 0, found, most), eps.dtype),)

    xp = array_namespace(eps)
    moved, size = (xp.astype(x, xp.float64) for x in (moved, eps))  # so that squares remain in range
    return blockwise(limited, inner(size, moved), inner(moved, moved), inner(size, size))[0]


def equation_of(optimizer: GaussNewton, at: Linearization, updates: int) -> Equation:
    """Return the equation J D = eps that the solver solves for a batch.

    `updates` is the number of updates done so far. With cross-entropy, a solver that constrains only some
    rows of each sample draws them among the centered logits.
    """
    J, eps = _jacobian_and_step(optimizer, at)
    # cross-entropy ignores a constant that is added to all logits of a sample
    solver, ignores_constant = optimizer.solver, isinstance(at.loss, CrossEntropy)
    if ignores_constant and J.outputs is None and getattr(solver, "rows", "all") != "all":
        solver = replace(solver, outputs="centered-logits")
    return equation(solver, J, eps, (at.seed, updates))


def _jacobian_and_step(optimizer: GaussNewton, at: Linearization) -> tuple[Jacobian, Array]:
    """Return J and eps of the equation J D = eps that the optimizer solves for a batch."""
    if optimizer.curvature == "identity":
        return at.jacobian, output_step(at.loss, at.outputs, at.targets)
    if optimizer.output_damping:
        return at.jacobian, damped_output_step(at.loss, at.outputs, at.targets, optimizer.output_damping)
    R, w = curvature_root(at.loss, at.outputs, at.targets)
    if not w.shape[1]:
        raise ShapeError("cross-entropy of a single output has no curvature; set curvature='identity'")
    return at.jacobian._replace(outputs=R), w
