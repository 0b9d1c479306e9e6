"""Blend of two optimizers' steps; each optimizer keeps its own state and learning rate.

With D_i the direction, lr_i the learning rate and w_i the weight decay of optimizer i, a step is

    W <- W - (1 - share) lr_1 (D_1 + w_1 W) - share lr_2 (D_2 + w_2 W)

This equals a step with the learning rate lr_1 along the single direction

    D = (1 - share) (D_1 + w_1 W) + share lr_2 / lr_1 (D_2 + w_2 W)
"""

from typing import NamedTuple

from revgn import trees
from revgn.cost import Cost, Sizes, cost
from revgn.networks import ChainParams, Network
from revgn.optimizers.adam import Adam
from revgn.optimizers.gauss_newton import GaussNewton
from revgn.optimizers.optimizer import (
    Direction,
    DirectionOptimizer,
    Linearization,
    OptimizerState,
    check_direction,
    direction,
    init_state,
    measured,
    replaced_by,
)
from revgn.structs import setting, struct


@struct
class Blend:
    """Weighted mean of the steps of two optimizers; both must have a `direction`.

    Notes
    -----
    The solve information of a step comes from the first optimizer if it solves an equation J D = eps, and
    from the second optimizer otherwise. In it, rho = |J D - eps| / |eps| refers to the blended direction D,
    and is known only at the steps at which Gauss-Newton measures it, which costs one jvp.
    """

    first: DirectionOptimizer = setting("First optimizer.", default=GaussNewton(), family="optimizer")
    second: DirectionOptimizer = setting("Second optimizer.", default=Adam(), family="optimizer")
    share: float = setting(
        "Weight of the second optimizer's step; the first one has the weight 1 - share.",
        default=0.5,
        gt=0,
        lt=1,
    )

    def check(self) -> None:
        """Raise `UsageError` unless both optimizers have a direction."""
        check_direction("Blend", self.first)
        check_direction("Blend", self.second)

    @property
    def lr(self) -> float:
        """Learning rate of the first optimizer."""
        return float(self.first.lr)

    @property
    def weight_decay(self) -> float:
        """0, because the direction already contains the weight decay of each optimizer."""
        return 0.0


class BlendState(NamedTuple):
    """States of both optimizers."""

    first: OptimizerState
    second: OptimizerState


@init_state.register(Blend)
def init_blend(optimizer: Blend, network: Network, params: ChainParams) -> BlendState:
    both = (init_state(of, network, params) for of in (optimizer.first, optimizer.second))
    return BlendState(*both)


@direction.register(Blend)
def direction_blend(
    optimizer: Blend, state: BlendState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    first = direction(optimizer.first, state.first, params, at, scale)
    second = direction(optimizer.second, state.second, params, at, scale)
    a, b = 1 - optimizer.share, optimizer.share * optimizer.second.lr / optimizer.first.lr
    decay = a * optimizer.first.weight_decay + b * optimizer.second.weight_decay
    (D,) = trees.elementwise(lambda D1, D2: (a * D1 + b * D2,), first.params, second.params)
    found = replaced_by(first if first.solve else second, D)
    found = found._replace(solve=measured(found), state=BlendState(first.state, second.state))
    if decay:
        found = found._replace(params=trees.axpy(decay, params, D))
    return found


@cost.register(Blend)
def cost_blend(optimizer: Blend, sizes: Sizes) -> Cost:
    return cost(optimizer.first, sizes) + cost(optimizer.second, sizes)
