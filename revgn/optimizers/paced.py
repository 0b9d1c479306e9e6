"""Step length along another optimizer's direction: a trust radius, and backtracking.

With E = D + w W, where D is the direction of the inner optimizer and w its weight decay,

    W <- W - t E        t = lr / 2^k, with lr first reduced until |t E| <= trust_radius

Without backtracking, k is 0. With backtracking, k is the smallest number that satisfies

    loss(W - t E) <= loss(W) - c t max(<grad, E>, 0)

on the batch of the step. Source: Nocedal and Wright 2006, algorithm 3.1. The slope <grad, E> =
<dloss/dz, J E> costs one jvp. Vaswani et al. 2019 use the rule with mini-batches.
"""

from revgn import trees
from revgn.arrays import array_namespace
from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
from revgn.losses import gradient, value
from revgn.maps import forward
from revgn.networks import ChainParams, Network, from_halves
from revgn.optimizers.gauss_newton import GaussNewton
from revgn.optimizers.optimizer import (
    DirectionOptimizer,
    Linearization,
    OptimizerState,
    Update,
    check_direction,
    direction,
    init_state,
    measured,
    replaced_by,
    update,
)
from revgn.solvers import apply
from revgn.structs import setting, struct


@struct
class Backtracking:
    """Halve the step length until the loss of the batch decreases enough."""

    halvings: int = setting("Maximum number of halvings.", default=10, ge=1, le=60)
    decrease: float = setting(
        "Required loss decrease, as a fraction c of its first-order prediction.", default=1e-4, ge=0, lt=1
    )


@struct
class Paced:
    """Direction of the inner optimizer, with a bound or a rule for the step length.

    Notes
    -----
    Law: a step that the bound shortens has the norm `trust_radius`. With backtracking the loss of the batch
    never rises: if no step length satisfies the condition, the step is 0, and only the inner state is
    updated. rho refers to the applied step, with (t / lr) D in place of D. If t differs from lr, it is known
    only at the steps at which Gauss-Newton measures it.
    Cost: with backtracking one jvp, and a forward pass for each length tried.
    """

    inner: DirectionOptimizer = setting(
        "Optimizer whose direction is applied.", default=GaussNewton(), family="optimizer"
    )
    length: Backtracking | None = setting(
        "Rule that chooses the step length; without a rule it is the learning rate.",
        default=None,
        family="length",
    )
    trust_radius: float | None = setting("Upper bound on the Euclidean norm of a step.", default=None, gt=0)

    def check(self) -> None:
        """Raise `UsageError` unless the inner optimizer has a direction, and a bound or a rule is set."""
        check_direction("Paced", self.inner)
        if self.length is None and self.trust_radius is None:
            raise UsageError("Paced: has neither a trust_radius nor a length rule; set at least one of them")


@init_state.register(Paced)
def init_paced(optimizer: Paced, network: Network, params: ChainParams) -> OptimizerState:
    return init_state(optimizer.inner, network, params)


@update.register(Paced)
def update_paced(
    optimizer: Paced, state: OptimizerState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Update:
    found = direction(optimizer.inner, state, params, at, scale)
    E = found.params
    if optimizer.inner.weight_decay:
        E = trees.axpy(optimizer.inner.weight_decay, params, E)
    lr = t = scale * optimizer.inner.lr
    size = trees.norm(E)
    if optimizer.trust_radius is not None:
        t = min(t, optimizer.trust_radius / (float(size) or 1.0))
    if optimizer.length is None:
        moved = trees.axpy(-t, E, params)
    else:
        t, moved = _backtracked(optimizer.length, params, at, E, t)
    if t != lr:
        found = replaced_by(found, trees.scale(t / lr, found.params))
    return Update(moved, found.state, t * size, measured(found), lr, t)


@cost.register(Paced)
def cost_paced(optimizer: Paced, sizes: Sizes) -> Cost:
    """Count a step for which backtracking tries one length, the usual case."""
    tried = {} if optimizer.length is None else {"length": sizes.forward + sizes.jvp}
    return cost(optimizer.inner, sizes) + Cost(tried)


def _backtracked(
    rule: Backtracking, params: ChainParams, at: Linearization, E: ChainParams, t: float
) -> tuple[float, ChainParams]:
    """Return the first length that lowers the loss enough, or 0 if there is none, and the new parameters."""
    start = float(value(at.loss, at.outputs, at.targets))
    JE = apply(at.jacobian, E)
    slope = float(array_namespace(JE).sum(gradient(at.loss, at.outputs, at.targets) * JE))
    network = at.jacobian.network
    x = from_halves(network, at.jacobian.point.input)
    for _ in range(rule.halvings + 1):
        moved = trees.axpy(-t, E, params)
        loss = float(value(at.loss, forward(network, moved, x), at.targets))
        if loss <= start - rule.decrease * t * max(slope, 0.0):
            return t, moved
        t *= 0.5
    return 0.0, params
