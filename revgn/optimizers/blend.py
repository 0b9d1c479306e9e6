"""A blend of two optimizers' directions, each with its own memory.

    D = (1 - share) D_1 + share rate D_2        W <- W - lr (D + weight_decay W)

`rate` is the second's learning rate relative to the first's, since an Adam direction is to be multiplied by
1e-3 where a Gauss-Newton direction is by 1. So the step is what the two alone would do, in these shares.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.errors import UsageError
from revgn.networks import ChainParams, Network
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    Optimizer,
    OptimizerState,
    check_part,
    direction,
    init_state,
    update,
    update_along,
)


@dataclass(frozen=True, slots=True)
class Blend:
    """A weighted mean of two directions; decoupled weight decay.

    Parameters
    ----------
    first, second : Optimizer
        Two that have a direction, without a weight decay of their own.
    rate : float
        The second's learning rate, relative to the first's.
    share : float
        Of the second, in (0, 1).
    weight_decay : float

    Raises
    ------
    UsageError
        If one of the two has no direction or a decay of its own, or a number is out of its range.

    Notes
    -----
    How a direction was solved for is reported as the first of the two that solves for one reports it: rho is
    then that of its direction, not of the blend.
    """

    first: Optimizer
    second: Optimizer
    rate: float = 1.0
    share: float = 0.5
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_part("Blend", self.first)
        check_part("Blend", self.second)
        if not (0 < self.rate < math.inf and 0 < self.share < 1):
            raise UsageError(
                f"Blend: rate {self.rate}, share {self.share}; expected a rate > 0 and a share in (0, 1)"
            )


class BlendState(NamedTuple):
    """The states of both."""

    first: OptimizerState
    second: OptimizerState


@init_state.register(Blend)
def init_blend(optimizer: Blend, network: Network, params: ChainParams) -> BlendState:
    return BlendState(
        init_state(optimizer.first, network, params), init_state(optimizer.second, network, params)
    )


update.register(Blend)(update_along)


@direction.register(Blend)
def direction_blend(
    optimizer: Blend, state: BlendState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    first = direction(optimizer.first, state.first, params, at, lr)
    second = direction(optimizer.second, state.second, params, at, optimizer.rate * lr)
    a, b = 1 - optimizer.share, optimizer.share * optimizer.rate
    (D,) = trees.elementwise(lambda D1, D2: (a * D1 + b * D2,), first.params, second.params)
    return Direction(D, BlendState(first.state, second.state), first.solve or second.solve)
