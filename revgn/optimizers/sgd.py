"""Stochastic gradient descent with momentum (Polyak 1964; Nesterov's form: Bengio et al. 2012, section 3).

m <- mu m + g        W <- W - lr m              (momentum)
                     W <- W - lr (g + mu m)     (Nesterov)

g is the gradient of the batch loss with respect to the weights W, and mu the momentum.
"""

from typing import NamedTuple

from revgn import trees
from revgn.cost import Cost, Sizes, cost, cost_of_gradient
from revgn.errors import UsageError
from revgn.networks import ChainParams, Network
from revgn.optimizers.optimizer import Direction, Linearization, batch_gradient, direction, init_state
from revgn.structs import setting, struct


@struct
class SGD:
    """Stochastic gradient descent with momentum and decoupled weight decay."""

    lr: float = setting("Learning rate.", default=0.1, gt=0, resumable=True)
    momentum: float = setting("Momentum.", default=0.0, ge=0, lt=1)
    nesterov: bool = setting("Use Nesterov momentum.", default=False)
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)

    def check(self) -> None:
        """Raise `UsageError` if Nesterov momentum is set and the momentum is 0."""
        if self.nesterov and not self.momentum:
            raise UsageError("SGD: nesterov needs a momentum > 0")


class SGDState(NamedTuple):
    """Running sum m of gradients; empty without momentum."""

    momentum: ChainParams


@init_state.register(SGD)
def init_sgd(optimizer: SGD, network: Network, params: ChainParams) -> SGDState:
    return SGDState(trees.zeros_like(params) if optimizer.momentum else ())


@direction.register(SGD)
def direction_sgd(
    optimizer: SGD, state: SGDState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    D = batch_gradient(at)
    if optimizer.momentum:
        m = trees.axpy(optimizer.momentum, state.momentum, D)
        D = trees.axpy(optimizer.momentum, m, D) if optimizer.nesterov else m
        state = SGDState(m)
    return Direction(D, state, None)


@cost.register(SGD)
def cost_sgd(optimizer: SGD, sizes: Sizes) -> Cost:
    return cost_of_gradient(sizes, copies=2 if optimizer.momentum else 1)
