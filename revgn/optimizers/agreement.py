"""A step that two halves of the batch agree on: their directions' mean, where both have the same sign.

    D_1, D_2 the directions of the batch's first and second half
    D = (D_1 + D_2) / 2 where sign D_1 = sign D_2, 0 elsewhere, element by element
    W <- W - lr (D + weight_decay W)

An element on which halves disagree says more about the samples than about their distribution. Source: the
AND-mask of Parascandolo et al. 2021 (arXiv 2009.00329), for gradients of environments, here for directions.
What is kept keeps its scale, so that D never asks an element for more than the mean direction does. That is a
shorter step: on the digits about twice the rate makes up for it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace
from revgn.errors import UsageError
from revgn.networks import ChainParams, join
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
from revgn.solvers import jacobian


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an optimizer's directions on two half-batches agree on; decoupled weight decay.

    Parameters
    ----------
    optimizer : Optimizer
        One that has a direction, without a weight decay of its own. Each half has a memory of its own.
    weight_decay : float

    Raises
    ------
    UsageError
        If the optimizer has no direction or a decay of its own; at `update`, if the batch is a single sample.

    Notes
    -----
    Law: of equal halves, with equal memories, it is the direction of either.

    Cost: a forward pass more than two directions of half the samples. How a direction was solved for is
    reported as the half with the larger rho reports it. Of an odd number of samples the second half has one
    more.
    """

    optimizer: Optimizer
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_part("Agreement", self.optimizer)


class AgreementState(NamedTuple):
    """The optimizer's states, of first and of second halves."""

    first: OptimizerState
    second: OptimizerState


@init_state.register(Agreement)
def init_agreement(optimizer: Agreement, params: ChainParams) -> AgreementState:
    return AgreementState(*(init_state(optimizer.optimizer, params) for _ in range(2)))


update.register(Agreement)(update_along)


@direction.register(Agreement)
def direction_agreement(
    optimizer: Agreement, state: AgreementState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    first, second = (
        direction(optimizer.optimizer, own, params, half, lr)
        for own, half in zip(state, _halves(params, at), strict=True)
    )
    (D,) = trees.elementwise(_agreed, first.params, second.params)
    solved = [part.solve for part in (first, second) if part.solve is not None]
    worst = max(solved, key=lambda info: info.rho, default=None)
    return Direction(D, AgreementState(first.state, second.state), worst)


def _agreed(D1: Array, D2: Array) -> tuple[Any]:
    xp = array_namespace(D1, D2)
    return (xp.where(xp.sign(D1) == xp.sign(D2), 0.5 * (D1 + D2), xp.zeros_like(D1)),)


def _halves(params: ChainParams, at: Linearization) -> list[Linearization]:
    J = at.jacobian
    n = at.outputs.shape[0]
    if n < 2:
        raise UsageError("update(Agreement): a batch of 1 sample has no halves")
    x = join(J.point.input, J.network.features)
    halves = []
    for rows in (slice(0, n // 2), slice(n // 2, n)):
        z, own = jacobian(J.network, params, x[rows, :])
        own = own._replace(trained=J.trained)
        halves.append(at._replace(targets=at.targets[rows, :], outputs=z, jacobian=own))
    return halves
