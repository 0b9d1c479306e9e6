"""Stochastic gradient descent with momentum (Polyak 1964) or Nesterov's (Bengio et al. 2012, section 3).

m <- mu m + g        W <- W - lr m              (momentum)
                     W <- W - lr (g + mu m)     (Nesterov)
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.errors import UsageError
from revgn.networks import ChainParams, Network
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    batch_gradient,
    direction,
    init_state,
    update,
    update_along,
)


@dataclass(frozen=True, slots=True)
class SGD:
    """Gradient descent; decoupled weight decay.

    Raises
    ------
    UsageError
        If momentum is not in [0, 1), or Nesterov is asked for without momentum.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise UsageError(f"SGD: momentum is {self.momentum}; expected 0 <= momentum < 1")
        if self.nesterov and not self.momentum:
            raise UsageError("SGD: Nesterov needs a momentum > 0")


class SGDState(NamedTuple):
    """Running sum m of gradients; empty without momentum."""

    momentum: ChainParams


@init_state.register(SGD)
def init_sgd(optimizer: SGD, network: Network, params: ChainParams) -> SGDState:
    return SGDState(trees.zeros_like(params) if optimizer.momentum else ())


update.register(SGD)(update_along)


@direction.register(SGD)
def direction_sgd(
    optimizer: SGD, state: SGDState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    D = batch_gradient(at)
    if optimizer.momentum:
        m = trees.axpy(optimizer.momentum, state.momentum, D)
        D = trees.axpy(optimizer.momentum, m, D) if optimizer.nesterov else m
        state = SGDState(m)
    return Direction(D, state, None)
