"""Gauss-Newton by a generalized inverse of the Jacobian, with momentum (SPRING).

    D_t = beta_t D_(t-1) + G (eps - beta_t J D_(t-1))        W <- W - lr D_t

eps is the output step of the loss, G the solver's generalized inverse. beta = 0 is the rule of Buffelli et
al. 2024, section 3; with momentum the solver only finds what the last direction misses (Goldshlager,
Abrahamsen and Lin 2024, arXiv 2401.10190, section 3); beta = 1 is the randomized Kaczmarz method. Where
batches differ, a large beta can leave a larger residual than eps itself, so beta_t is reduced until

    |eps - beta_t J D_(t-1)| <= momentum_limit |eps|

in the rows that the solver constrains, which are drawn from eps.

With the loss's exact curvature H = R R^T in place of the identity, J is R^T dz/dW and eps the w with
R w = p - y, so that D is (J^T H J + mu I)^-1 J^T (p - y), mu the solver's damping. With an `output_damping`
nu it is eps = (H + nu I)^-1 (p - y), for any solver. In a `metric` M it is D = M^-1 J^T (J M^-1 J^T)^-1 eps.
"""

import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from revgn import trees
from revgn.arrays import Array, Deferred, array_namespace, read, together
from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
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
    output_change,
    solve,
)
from revgn.structs import setting, struct


@struct
class GaussNewton:
    """Gauss-Newton with the generalized inverse that `solver` stands for; decoupled weight decay."""

    solver: Solver = setting("Generalized inverse of the Jacobian.", default=MinimumNorm(), family="solver")
    lr: float = setting("Learning rate.", default=1.0, gt=0, resumable=True)
    momentum: float = setting("Momentum beta (SPRING).", default=0.0, ge=0, le=1)
    momentum_limit: float = setting(
        "Bound on |eps - beta J D| / |eps|, above which beta is reduced.", default=1.2, ge=1, infinite=True
    )
    metric: FeatureMetric | None = setting(
        "Norm in which the step is smallest: that of the weights, or one of the features seen so far.",
        default=None,
        family="metric",
    )
    curvature: Literal["identity", "exact"] = setting(
        "Curvature of the loss in the outputs.", default="identity"
    )
    output_damping: float = setting(
        "nu of eps = (H + nu I)^-1 (p - y), with the exact curvature; 0 leaves damping to the solver.",
        default=0.0,
        ge=0,
        resumable=True,
    )
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)

    def check(self) -> None:
        """Raise `UsageError` where output damping, curvature and solver do not go together."""
        if self.output_damping and self.curvature != "exact":
            raise UsageError("GaussNewton: output_damping needs curvature exact")
        if self.curvature == "exact" and not self.output_damping:
            if isinstance(self.solver, BlockWise):
                raise UsageError(
                    "GaussNewton: the block step takes the exact curvature through output_damping; "
                    "give it a number > 0, such as 0.1"
                )
            if getattr(self.solver, "outputs", "logits") != "logits":
                raise UsageError(
                    "GaussNewton: the exact curvature centers the logits by itself; leave outputs out"
                )


class GaussNewtonState(NamedTuple):
    """The last direction D, and what the metric is made of, after so many updates; empty without them."""

    updates: int
    direction: ChainParams
    metric: FeatureMetricState | tuple[()]


@init_state.register(GaussNewton)
def init_gauss_newton(optimizer: GaussNewton, network: Network, params: ChainParams) -> GaussNewtonState:
    last = trees.zeros_like(params) if optimizer.momentum else ()
    return GaussNewtonState(0, last, init_metric(network, params) if optimizer.metric else ())


@direction.register(GaussNewton)
def direction_gauss_newton(
    optimizer: GaussNewton,
    state: GaussNewtonState,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Direction:
    solved = equation_of(optimizer, at, state.updates)
    solver, J, wanted, _ = solved
    missed, beta, carried = wanted, 0.0, None
    if state.updates and optimizer.momentum:
        carried = output_change(J, state.direction)
        moved = combined(J.outputs, carried)
        beta = min(optimizer.momentum, _largest_momentum(moved, wanted, optimizer.momentum_limit))
        missed = wanted - beta * moved
    metric = state.metric
    if optimizer.metric is None or not metric:
        D, info = solve(solver, J, missed)
    else:
        metric = update_metric(optimizer.metric, metric, J, state.updates)
        D, info = solve(solver, in_metric(metric, J), missed)
        D = from_metric(metric, J, D)
    if beta:
        D = trees.axpy(beta, state.direction, D)
    info = _of_whole_step(info, solved, missed, None if carried is None else beta * carried)
    state = GaussNewtonState(state.updates + 1, D if optimizer.momentum else (), metric)
    return Direction(D, state, info, solved)


@cost.register(GaussNewton)
def cost_gauss_newton(optimizer: GaussNewton, sizes: Sizes) -> Cost:
    copies = 2 if optimizer.momentum else 1
    total = Cost(memory={"weights and steps": copies * sizes.weights * sizes.number})
    if optimizer.momentum:
        total += Cost({"momentum": sizes.jvp})
    if optimizer.metric is not None:
        total += cost(optimizer.metric, sizes)
    rows = sizes.curvature_rows
    if rows is not None and optimizer.curvature == "exact" and not optimizer.output_damping:
        sizes = sizes._replace(outputs=rows, own_rows=True, span=sizes.outputs)
    return total + cost(optimizer.solver, sizes)


def _of_whole_step(info: SolveInfo, solved: Equation, missed: Array, carried: Array | None) -> SolveInfo:
    """Return `info` of a solution for `missed`, of the step that has what was carried over in it.

    J D - eps is what it was; it counts relative to what the step as a whole wants.
    """
    numbers: list[Deferred[Any]] = []
    if carried is not None:
        sizes = begin_norms(missed, solved.wanted)
        numbers.append(sizes.then(lambda of: {"rho": info.rho * of[0] / (of[1] or 1.0)}))
    if solved.outputs is not None and info.change is not None:
        J, eps = solved.outputs
        change = combined(J.outputs, info.change if carried is None else info.change + carried)
        numbers.append(begin_rho(change, eps).then(lambda rho: {"rho_outputs": rho}))
    for changes in read(together(numbers)):
        info = info._replace(**changes)
    return info


def _largest_momentum(moved: Array, wanted: Array, limit: float) -> float:
    """Largest b with |wanted - b moved| <= limit |wanted|."""
    if limit == math.inf:
        return math.inf
    product = Deferred((array_namespace(wanted).sum(wanted * moved),), float)
    numbers: list[Deferred[Any]] = [begin_norms(moved, wanted), product]
    (length, size), along = read(together(numbers))
    if not length:
        return math.inf
    along /= length
    return float((along + math.hypot(along, math.sqrt(limit * limit - 1) * size)) / length)


def equation_of(optimizer: GaussNewton, at: Linearization, updates: int) -> Equation:
    """Return the equation that the solver solves at a batch, after so many updates.

    Of a cross-entropy, rows of each sample are drawn among the centered logits.
    """
    J, wanted = wanted_of(optimizer, at)
    solver, is_blind = optimizer.solver, isinstance(at.loss, CrossEntropy)  # to a constant
    if is_blind and J.outputs is None and getattr(solver, "rows", "all") != "all":
        solver = replace(solver, outputs="centered-logits")
    return equation(solver, J, wanted, (at.seed, updates))


def wanted_of(optimizer: GaussNewton, at: Linearization) -> tuple[Jacobian, Array]:
    """J and eps of the equation J D = eps that the optimizer solves at a batch."""
    if optimizer.curvature == "identity":
        return at.jacobian, output_step(at.loss, at.outputs, at.targets)
    if optimizer.output_damping:
        return at.jacobian, damped_output_step(at.loss, at.outputs, at.targets, optimizer.output_damping)
    R, w = curvature_root(at.loss, at.outputs, at.targets)
    return at.jacobian._replace(outputs=R), w
