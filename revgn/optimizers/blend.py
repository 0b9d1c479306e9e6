"""A blend of two optimizers' steps, each with its own state and learning rate.

    W <- W - (1 - share) lr_1 (D_1 + w_1 W) - share lr_2 (D_2 + w_2 W)

As one direction with the learning rate lr_1:

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
)
from revgn.structs import setting, struct


@struct
class Blend:
    """A weighted mean of the steps of two optimizers that have a direction.

    Notes
    -----
    How a direction was solved for is reported as the first of the two that solves for one reports it, with
    rho = |J D - eps| / |eps| of the blend D for that one's eps, which costs a jvp.
    """

    first: DirectionOptimizer = setting("First optimizer.", default=GaussNewton(), family="optimizer")
    second: DirectionOptimizer = setting("Second optimizer.", default=Adam(), family="optimizer")
    share: float = setting("Share of the second optimizer's step.", default=0.5, gt=0, lt=1)

    def check(self) -> None:
        """Raise `UsageError` unless both have a direction."""
        check_direction("Blend", self.first)
        check_direction("Blend", self.second)

    @property
    def lr(self) -> float:
        """Learning rate of the first."""
        return float(self.first.lr)

    @property
    def weight_decay(self) -> float:
        """0: the decay of each is part of the direction."""
        return 0.0


class BlendState(NamedTuple):
    """The states of both."""

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
    solved = first if first.solve else second
    info = measured(solved, D)
    if decay:
        D = trees.axpy(decay, params, D)
    return Direction(D, BlendState(first.state, second.state), info, solved.equation)


@cost.register(Blend)
def cost_blend(optimizer: Blend, sizes: Sizes) -> Cost:
    return cost(optimizer.first, sizes) + cost(optimizer.second, sizes)
