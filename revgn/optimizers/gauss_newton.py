"""Gauss-Newton by a generalized inverse of the Jacobian, which may carry its last direction along.

    D_t = beta_t D_(t-1) + G (eps - beta_t J D_(t-1))        W <- W - lr D_t

eps is what the loss wants at the output, G the generalized inverse that the solver stands for. Without
carry (beta = 0) it is Buffelli et al. 2024, section 3. With carry the batch is asked only for what the last
direction misses: the SPRING rule (Goldshlager, Abrahamsen and Lin 2024, arXiv 2401.10190, section 3), of
which beta = 1 is the randomized Kaczmarz method. On batches that differ, a direction carried too far leaves
more to do than there was, at beta = 1 without end; so beta_t is no larger than what keeps

    |eps - beta_t J D_(t-1)| <= limit |eps|

With the loss's exact curvature H = R R^T in place of the identity, J is R^T dz/dW and eps the w with
R w = p - y, so that D is (J^T H J + mu I)^-1 J^T (p - y), mu the solver's damping. With an `output_damping`
nu it is eps = (H + nu I)^-1 (p - y), for any solver. In a `metric` M it is D = M^-1 J^T (J M^-1 J^T)^-1 eps.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import UsageError
from revgn.linalg import norm
from revgn.losses import curvature_root, damped_output_step, output_step
from revgn.networks import ChainParams, Network
from revgn.optimizers.metric import (
    FeatureMetric,
    FeatureMetricState,
    from_metric,
    in_metric,
    init_metric,
    update_metric,
)
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    direction,
    init_state,
    update,
    update_along,
)
from revgn.solvers import Jacobian, MinimumNorm, Solver, apply, solve

Curvature = Literal["identity", "exact"]


@dataclass(frozen=True, slots=True)
class GaussNewton:
    """Gauss-Newton with the generalized inverse that `solver` stands for; decoupled weight decay.

    Parameters
    ----------
    solver : MinimumNorm or BlockInverse
    weight_decay : float
    curvature : {"identity", "exact"}
        Of the loss in its outputs; "identity" is what the paper's runs use for cross-entropy.
    metric : FeatureMetric or None
        In which D is the smallest; None is the usual one. See `revgn.optimizers.metric`.
    output_damping : float
        nu of the exact curvature; 0 leaves damping to the solver, which then solves with R^T dz/dW.
    carry : float
        beta of the first update that has a direction to carry.
    carry_decay : float
        beta_t = carry * carry_decay^(t-1) at the t-th update, at most.
    carry_limit : float
        Of what a carried direction may leave to do, relative to what is wanted; infinity is none.

    Raises
    ------
    UsageError
        If carry or its decay is not in [0, 1] or its limit below 1, or an output damping comes with the
        identity.
    """

    solver: Solver = MinimumNorm()
    weight_decay: float = 0.0
    carry: float = 0.0
    carry_decay: float = 1.0
    carry_limit: float = 1.2
    curvature: Curvature = "identity"
    output_damping: float = 0.0
    metric: FeatureMetric | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.carry <= 1 and 0 <= self.carry_decay <= 1):
            raise UsageError(
                f"GaussNewton: carry {self.carry}, carry_decay {self.carry_decay}; expected both in [0, 1]"
            )
        if not self.carry_limit >= 1:
            raise UsageError(f"GaussNewton: carry_limit is {self.carry_limit}; expected at least 1")
        if self.curvature not in get_args(Curvature):
            raise UsageError(f"GaussNewton: curvature is {self.curvature!r}; expected identity or exact")
        if not 0 <= self.output_damping < math.inf or (self.output_damping and self.curvature != "exact"):
            raise UsageError(
                f"GaussNewton: output_damping {self.output_damping} with curvature {self.curvature}; "
                "expected a number >= 0, and the exact curvature where it is not 0"
            )


class GaussNewtonState(NamedTuple):
    """The last direction D, and what the metric is made of, after so many updates; empty without them."""

    updates: int
    direction: ChainParams
    metric: FeatureMetricState | tuple[()]


@init_state.register(GaussNewton)
def init_gauss_newton(optimizer: GaussNewton, network: Network, params: ChainParams) -> GaussNewtonState:
    carried = trees.zeros_like(params) if optimizer.carry else ()
    return GaussNewtonState(0, carried, init_metric(network, params) if optimizer.metric else ())


update.register(GaussNewton)(update_along)


@direction.register(GaussNewton)
def direction_gauss_newton(
    optimizer: GaussNewton, state: GaussNewtonState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    J, wanted = wanted_of(optimizer, at)
    missed, beta = wanted, 0.0
    if state.updates and optimizer.carry:
        beta = optimizer.carry * optimizer.carry_decay ** (state.updates - 1)
        carried = apply(J, state.direction)
        beta = min(beta, _largest_carry(carried, wanted, optimizer.carry_limit))
        missed = wanted - beta * carried
    metric = state.metric
    if optimizer.metric is None or not metric:
        D, info = solve(optimizer.solver, J, missed)
    else:
        metric = update_metric(optimizer.metric, metric, J, state.updates)
        D, info = solve(optimizer.solver, in_metric(metric, J), missed)
        D = from_metric(metric, J, D)
    if beta:
        D = trees.axpy(beta, state.direction, D)
        # J D - eps is what it was; it counts relative to what the step as a whole wants
        info = info._replace(rho=info.rho * norm(missed) / (norm(wanted) or 1.0))
    return Direction(D, GaussNewtonState(state.updates + 1, D if optimizer.carry else (), metric), info)


def _largest_carry(carried: Array, wanted: Array, limit: float) -> float:
    """Largest b with |wanted - b carried| <= limit |wanted|."""
    length = norm(carried)
    if limit == math.inf or not length:
        return math.inf
    along = float(array_namespace(wanted).sum(wanted * carried)) / length
    return (along + math.hypot(along, math.sqrt(limit * limit - 1) * norm(wanted))) / length


def wanted_of(optimizer: GaussNewton, at: Linearization) -> tuple[Jacobian, Array]:
    """J and eps of the equation J D = eps that the optimizer solves at a batch."""
    if optimizer.curvature == "identity":
        return at.jacobian, output_step(at.loss, at.outputs, at.targets)
    if optimizer.output_damping:
        return at.jacobian, damped_output_step(at.loss, at.outputs, at.targets, optimizer.output_damping)
    R, w = curvature_root(at.loss, at.outputs, at.targets)
    return at.jacobian._replace(outputs=R), w
