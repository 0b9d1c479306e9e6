"""What an optimizer is: `init_state` and `update`, with everything explicit.

Most have a `direction` D, along which the weights go W <- W - lr D: what can be blended, switched and
scaled by others. An update sees the network linearized at a batch, so first-order methods (one vjp) and
Gauss-Newton (one solve) share it. It returns new parameters and a new state; nothing is changed in place.
"""

from typing import Any, NamedTuple, TypeAlias

from revgn import trees
from revgn._dispatch import generic, has_map
from revgn.arrays import Array
from revgn.errors import UsageError
from revgn.losses import Loss, gradient
from revgn.networks import ChainParams, Network
from revgn.solvers import Jacobian, SolveInfo, apply_adjoint

Optimizer: TypeAlias = Any
OptimizerState: TypeAlias = Any


class Linearization(NamedTuple):
    """A batch seen from the parameters: the loss, its targets (n, c), the outputs z (n, c) and J = dz/dW.

    `fresh` are inputs (m, d) and targets (m, c) of another batch, for those who judge a step by it.
    """

    loss: Loss
    targets: Array
    outputs: Array
    jacobian: Jacobian
    fresh: tuple[Array, Array] | None = None


class Update(NamedTuple):
    """What an update gives: parameters, state, the step's norm |W_new - W| (0-d), and how it was solved.

    `length` is how far the step went along its direction: the rate, unless something else was chosen.
    """

    params: ChainParams
    state: OptimizerState
    step_norm: Array
    solve: SolveInfo | None
    length: float


class Direction(NamedTuple):
    """D, with which the weights go W <- W - lr D; the state; how D was solved for, if it was."""

    params: ChainParams
    state: OptimizerState
    solve: SolveInfo | None


@generic
def init_state(optimizer: Optimizer, network: Network, params: ChainParams) -> OptimizerState:
    """State before the first update."""


@generic
def update(
    optimizer: Optimizer, state: OptimizerState, params: ChainParams, at: Linearization, lr: float
) -> Update:
    """One step at the rate `lr`; `params` are those of the linearization.

    Notes
    -----
    Law: a function of its arguments alone; equal arguments give equal bits.
    """


@generic
def direction(
    optimizer: Optimizer, state: OptimizerState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    """D of the step W <- W - lr D, without weight decay; most directions do not depend on lr.

    Notes
    -----
    Law: a function of its arguments alone; equal arguments give equal bits.
    """


def update_along(
    optimizer: Optimizer, state: OptimizerState, params: ChainParams, at: Linearization, lr: float
) -> Update:
    """`update` of an optimizer that has a direction, and a `weight_decay` decoupled from it."""
    D, state, solved = direction(optimizer, state, params, at, lr)
    params, step_norm = moved_by(params, D, lr, optimizer.weight_decay)
    return Update(params, state, step_norm, solved, lr)


def check_direction(name: str, optimizer: Optimizer) -> None:
    """Raise `UsageError`, in the name of a struct that uses it, unless the optimizer has a direction."""
    if not has_map(direction, type(optimizer)):
        raise UsageError(
            f"{name}: {type(optimizer).__name__} takes its steps itself and has no direction to go along"
        )


def check_part(name: str, optimizer: Optimizer) -> None:
    """Raise `UsageError` unless the optimizer has a direction, and no decay beside that of the whole."""
    check_direction(name, optimizer)
    if optimizer.weight_decay:
        raise UsageError(
            f"{name}: {type(optimizer).__name__} has weight_decay {optimizer.weight_decay}; "
            f"give it to {name}, whose decay is decoupled from all directions"
        )


def batch_gradient(at: Linearization) -> ChainParams:
    """Gradient of the batch's mean loss in the parameters: J^T d loss/dz."""
    return apply_adjoint(at.jacobian, gradient(at.loss, at.outputs, at.targets))


def moved_by(
    params: ChainParams, direction: ChainParams, lr: float, weight_decay: float
) -> tuple[ChainParams, Array]:
    """W - lr (D + weight_decay W), decay decoupled from the direction, and the norm of the change."""
    if weight_decay:
        direction = trees.axpy(weight_decay, params, direction)
    return trees.axpy(-lr, direction, params), lr * trees.norm(direction)
