"""Two optimizers in turn: the second takes over at a step, or once the first makes no progress.

    first   until `at` updates are done, or until the running mean of the batch's loss has had no new lowest
            value for `patience` updates
    second  from then on, with a state that has seen nothing, at `rate` times the learning rate

The mean is m_t / (1 - b^t), m_t = b m_(t-1) + (1 - b) loss_t, b = `smoothing`, over about 1 / (1 - b)
batches. A new lowest is lower by a ten-thousandth at least, so that creeping counts as standing still.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from revgn.errors import UsageError
from revgn.losses import value
from revgn.networks import ChainParams, Network
from revgn.optimizers.optimizer import (
    Linearization,
    Optimizer,
    OptimizerState,
    Update,
    init_state,
    update,
)

_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class Switch:
    """First one optimizer, then another; any two, each with its own weight decay.

    Parameters
    ----------
    first, second : Optimizer
    at : int or None
        Updates of the first.
    patience : int or None
        Updates of the first without a new lowest mean loss. One of `at` and `patience` is given.
    rate : float
        The second's learning rate, relative to the first's.
    smoothing : float
        b, the share of the old mean in the new one.

    Raises
    ------
    UsageError
        If not one of `at` and `patience` is given, or a number is out of its range.

    Notes
    -----
    Law: the updates are those of the first alone, then those of the second alone, bit for bit.

    Both states are there all along, so that a checkpoint has one shape.
    """

    first: Optimizer
    second: Optimizer
    at: int | None = None
    patience: int | None = None
    rate: float = 1.0
    smoothing: float = 0.9

    def __post_init__(self) -> None:
        given = [when for when in (self.at, self.patience) if when is not None]
        if len(given) != 1 or given[0] < 1:
            raise UsageError(
                f"Switch: at is {self.at}, patience {self.patience}; expected one of them, of at least 1"
            )
        if not (0 < self.rate < math.inf and 0 <= self.smoothing < 1):
            raise UsageError(
                f"Switch: rate {self.rate}, smoothing {self.smoothing}; "
                "expected a rate > 0 and a smoothing in [0, 1)"
            )


class SwitchState(NamedTuple):
    """Updates done, those since the mean loss was lowest, m, that lowest; whether it is the second's turn."""

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
    optimizer: Switch, state: SwitchState, params: ChainParams, at: Linearization, lr: float
) -> Update:
    state = _observed(optimizer, state, at)
    if state.is_second:
        done = update(optimizer.second, state.second, params, at, optimizer.rate * lr)
        state = state._replace(second=done.state)
    else:
        done = update(optimizer.first, state.first, params, at, lr)
        state = state._replace(first=done.state)
    return done._replace(state=state._replace(updates=state.updates + 1))


def _observed(optimizer: Switch, state: SwitchState, at: Linearization) -> SwitchState:
    """State that says who takes this step."""
    if state.is_second:
        return state
    if optimizer.patience is None:
        return state._replace(is_second=int(state.updates == optimizer.at))
    b = optimizer.smoothing
    mean = b * state.mean + (1 - b) * float(value(at.loss, at.outputs, at.targets))
    unbiased = mean / (1 - b ** (state.updates + 1))
    if unbiased < (1 - _LEAST) * state.lowest:
        return state._replace(mean=mean, lowest=unbiased, since_lowest=0)
    since = state.since_lowest + 1
    return state._replace(mean=mean, since_lowest=since, is_second=int(since >= optimizer.patience))
