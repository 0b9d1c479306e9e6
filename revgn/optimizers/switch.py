"""Two optimizers in sequence: the second takes over after a number of steps, or when progress stalls.

    first   until `switch_at` updates are done, or until the running mean of the batch loss has reached no new
            minimum for `patience` updates
    second  from then on, starting in its initial state

The running mean is m_t / (1 - b^t) with m_t = b m_(t-1) + (1 - b) loss_t and b = `smoothing`; it extends over
about 1 / (1 - b) batches. A new minimum must be lower than the old one by at least 0.01 %, so very slow
progress counts as none.
"""

import math
from typing import NamedTuple

from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
from revgn.losses import value
from revgn.networks import ChainParams, Network
from revgn.optimizers.adam import Adam
from revgn.optimizers.gauss_newton import GaussNewton
from revgn.optimizers.optimizer import (
    Linearization,
    Optimizer,
    OptimizerState,
    Update,
    active,
    init_state,
    update,
)
from revgn.structs import setting, struct

_LEAST = 1e-4


@struct
class Switch:
    """One optimizer first, another one later; each has its own learning rate and weight decay.

    Notes
    -----
    Law: the updates are, bit for bit, the updates of the first optimizer alone, followed by the updates of
    the second optimizer alone. Both states exist from the beginning, so every checkpoint has the same
    structure.
    """

    first: Optimizer = setting("Optimizer before the switch.", default=Adam(), family="optimizer")
    second: Optimizer = setting("Optimizer after the switch.", default=GaussNewton(), family="optimizer")
    switch_at: int | None = setting("Number of steps before the switch.", default=None, ge=1)
    patience: int | None = setting("Number of steps without progress before the switch.", default=None, ge=1)
    smoothing: float = setting(
        "Weight of the old value in the running mean of the loss, which measures progress.",
        default=0.9,
        ge=0,
        lt=1,
    )

    def check(self) -> None:
        """Raise `UsageError` unless exactly one of `switch_at` and `patience` is set."""
        if (self.switch_at is None) == (self.patience is None):
            raise UsageError(
                f"Switch: switch_at is {self.switch_at}, patience is {self.patience}; set exactly one of them"
            )


class SwitchState(NamedTuple):
    """State of the switch.

    Updates done; updates since the running mean reached its minimum; m; that minimum; 1 if the second
    optimizer is active, otherwise 0; and the states of both optimizers.
    """

    updates: int
    since_lowest: int
    mean: float
    lowest: float
    is_second: int
    first: OptimizerState
    second: OptimizerState


@init_state.register(Switch)
def init_switch(optimizer: Switch, network: Network, params: ChainParams) -> SwitchState:
    states = init_state(optimizer.first, network, params), init_state(optimizer.second, network, params)
    return SwitchState(0, 0, 0.0, math.inf, 0, *states)


@update.register(Switch)
def update_switch(
    optimizer: Switch, state: SwitchState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Update:
    state = _observed(optimizer, state, at)
    if state.is_second:
        done = update(optimizer.second, state.second, params, at, scale)
        state = state._replace(second=done.state)
    else:
        done = update(optimizer.first, state.first, params, at, scale)
        state = state._replace(first=done.state)
    return done._replace(state=state._replace(updates=state.updates + 1))


@active.register(Switch)
def active_switch(optimizer: Switch, state: SwitchState) -> Optimizer:
    if state.is_second:
        return active(optimizer.second, state.second)
    return active(optimizer.first, state.first)


@cost.register(Switch)
def cost_switch(optimizer: Switch, sizes: Sizes) -> Cost:
    return cost(optimizer.first, sizes).or_else(cost(optimizer.second, sizes))


def _observed(optimizer: Switch, state: SwitchState, at: Linearization) -> SwitchState:
    """Return the state after the batch loss is included and the optimizer of this step is chosen."""
    if state.is_second:
        return state
    if optimizer.patience is None:
        return state._replace(is_second=int(state.updates == optimizer.switch_at))
    b = optimizer.smoothing
    mean = b * state.mean + (1 - b) * float(value(at.loss, at.outputs, at.targets))
    unbiased = mean / (1 - b ** (state.updates + 1))
    if unbiased < (1 - _LEAST) * state.lowest:
        return state._replace(mean=mean, lowest=unbiased, since_lowest=0)
    since = state.since_lowest + 1
    return state._replace(mean=mean, since_lowest=since, is_second=int(since >= optimizer.patience))
