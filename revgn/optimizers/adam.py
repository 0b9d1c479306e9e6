"""Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019).

m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
W <- W - lr ( m/(1 - b1^t) / (sqrt(v/(1 - b2^t)) + eps) + weight_decay W )

g is the gradient of the batch loss with respect to the weights W, and t = 1, 2, ... counts the updates.
"""

from typing import NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.cost import Cost, Sizes, cost, cost_of_gradient
from revgn.networks import ChainParams, Network
from revgn.optimizers.optimizer import Direction, Linearization, batch_gradient, direction, init_state
from revgn.structs import setting, struct


@struct
class Adam:
    """Adam, or AdamW if weight_decay > 0."""

    lr: float = setting("Learning rate.", default=1e-3, gt=0, resumable=True)
    beta1: float = setting("Decay b1 of the running mean of the gradient.", default=0.9, ge=0, lt=1)
    beta2: float = setting("Decay b2 of the running mean of the squared gradient.", default=0.999, ge=0, lt=1)
    eps: float = setting("Constant added to the denominator for numerical stability.", default=1e-8, gt=0)
    weight_decay: float = setting("Decoupled weight decay.", default=0.0, ge=0, resumable=True)


class AdamState(NamedTuple):
    """Number of updates, and running means m of the gradient and v of its square."""

    updates: int
    mean: ChainParams
    square: ChainParams


@init_state.register(Adam)
def init_adam(optimizer: Adam, network: Network, params: ChainParams) -> AdamState:
    return AdamState(0, trees.zeros_like(params), trees.zeros_like(params))


@direction.register(Adam)
def direction_adam(
    optimizer: Adam, state: AdamState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    D, state = adam_direction(optimizer.beta1, optimizer.beta2, optimizer.eps, state, batch_gradient(at))
    return Direction(D, state, None)


@cost.register(Adam)
def cost_adam(optimizer: Adam, sizes: Sizes) -> Cost:
    return cost_of_gradient(sizes, copies=4)


def adam_direction(
    b1: float, b2: float, eps: float, state: AdamState, g: ChainParams
) -> tuple[ChainParams, AdamState]:
    """Return Adam's direction for the gradient g, without learning rate and decay, and the new state."""
    t = state.updates + 1
    unbias1, unbias2 = 1 / (1 - b1**t), 1 / (1 - b2**t)

    def step(m: Array, v: Array, g: Array) -> tuple[Array, Array, Array]:
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (g * g)
        return m, v, (unbias1 * m) / (array_namespace(v).sqrt(unbias2 * v) + eps)

    m, v, D = trees.elementwise(step, state.mean, state.square, g)
    return D, AdamState(t, m, v)
