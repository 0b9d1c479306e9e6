"""Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019).

m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
W <- W - lr ( m/(1 - b1^t) / (sqrt(v/(1 - b2^t)) + eps) + weight_decay W )
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import UsageError
from revgn.networks import ChainParams
from revgn.optimizers.optimizer import (
    Linearization,
    Update,
    batch_gradient,
    init_state,
    moved_by,
    update,
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
def init_adam(optimizer: Adam, params: ChainParams) -> AdamState:
    return AdamState(0, trees.zeros_like(params), trees.zeros_like(params))


@update.register(Adam)
def update_adam(
    optimizer: Adam, state: AdamState, params: ChainParams, at: Linearization, lr: float
) -> Update:
    b1, b2, t = optimizer.beta1, optimizer.beta2, state.updates + 1
    g = batch_gradient(at)
    m = trees.map_leaves(lambda mi, gi: b1 * mi + (1 - b1) * gi, state.mean, g)
    v = trees.map_leaves(lambda vi, gi: b2 * vi + (1 - b2) * (gi * gi), state.square, g)
    unbias1, unbias2 = 1 / (1 - b1**t), 1 / (1 - b2**t)

    def ratio(mi: Array, vi: Array) -> Array:
        root: Array = array_namespace(vi).sqrt(unbias2 * vi)
        return (unbias1 * mi) / (root + optimizer.eps)

    params, step_norm = moved_by(params, trees.map_leaves(ratio, m, v), lr, optimizer.weight_decay)
    return Update(params, AdamState(t, m, v), step_norm, None)
