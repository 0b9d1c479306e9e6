"""Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019).

m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
W <- W - lr ( m/(1 - b1^t) / (sqrt(v/(1 - b2^t)) + eps) + weight_decay W )
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace
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
class Adam:
    """Adam; with weight_decay > 0, AdamW.

    Raises
    ------
    UsageError
        If a beta is not in [0, 1), or eps is not positive.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.eps > 0):
            raise UsageError(
                f"Adam: beta1 {self.beta1}, beta2 {self.beta2}, eps {self.eps}; "
                "expected 0 <= beta < 1 and eps > 0"
            )


class AdamState(NamedTuple):
    """Running means m of the gradient and v of its square, after so many updates."""

    updates: int
    mean: ChainParams
    square: ChainParams


@init_state.register(Adam)
def init_adam(optimizer: Adam, network: Network, params: ChainParams) -> AdamState:
    return AdamState(0, trees.zeros_like(params), trees.zeros_like(params))


update.register(Adam)(update_along)


@direction.register(Adam)
def direction_adam(
    optimizer: Adam, state: AdamState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    D, state = adam_direction(optimizer, state, batch_gradient(at))
    return Direction(D, state, None)


def adam_direction(optimizer: Adam, state: AdamState, g: ChainParams) -> tuple[ChainParams, AdamState]:
    """What the rate multiplies, without the decay, and the state after the gradient g."""
    b1, b2, t = optimizer.beta1, optimizer.beta2, state.updates + 1
    unbias1, unbias2 = 1 / (1 - b1**t), 1 / (1 - b2**t)

    def step(m: Array, v: Array, g: Array) -> tuple[Array, Array, Array]:
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (g * g)
        return m, v, (unbias1 * m) / (array_namespace(v).sqrt(unbias2 * v) + optimizer.eps)

    m, v, D = trees.elementwise(step, state.mean, state.square, g)
    return D, AdamState(t, m, v)
