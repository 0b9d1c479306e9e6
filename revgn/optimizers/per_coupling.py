"""One optimizer for some couplings, another for the rest: Gauss-Newton at the output, Adam elsewhere.

    D = D_1 in `couplings`, rate D_2 elsewhere        W <- W - lr (D + weight_decay W)

D_1 and D_2 are the directions of networks of which only these couplings, only the others, are trained: the
columns of the other couplings in J are 0. So Gauss-Newton solves J D = eps with its own couplings alone; it
is no part of a solution by all of them. For optimizers by the coupling, such as Adam, both are the same.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.errors import UsageError
from revgn.networks import ChainParams
from revgn.optimizers.gauss_newton import GaussNewton
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
from revgn.solvers import BlockInverse


@dataclass(frozen=True, slots=True)
class PerCoupling:
    """`first` in some couplings, `second` in the others; decoupled weight decay.

    Parameters
    ----------
    first, second : Optimizer
        Two that have a direction, without a weight decay of their own.
    couplings : tuple of int
        Where the first works: k = 0 is next to the input, 2L - 1 next to the output.
    rate : float
        The second's learning rate, relative to the first's.
    weight_decay : float

    Raises
    ------
    UsageError
        If one of the two has no direction, a decay of its own, or is Gauss-Newton with the block inverse,
        which takes all couplings; if couplings are none, repeated or negative; at `init_state`, if they are
        not there or leave nothing to the second.

    Notes
    -----
    How a direction was solved for is reported as the first of the two that solves for one reports it; rho
    is then that of its couplings alone.
    """

    first: Optimizer
    second: Optimizer
    couplings: tuple[int, ...]
    rate: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for part in (self.first, self.second):
            check_part("PerCoupling", part)
            if isinstance(part, GaussNewton) and isinstance(part.solver, BlockInverse):
                raise UsageError(
                    "PerCoupling: the block inverse realizes eps by whole blocks; take the minimum norm"
                )
        if not self.couplings or len(set(self.couplings)) < len(self.couplings) or min(self.couplings) < 0:
            raise UsageError(
                f"PerCoupling: couplings are {self.couplings}; expected some different numbers >= 0"
            )
        if not 0 < self.rate < math.inf:
            raise UsageError(f"PerCoupling: rate is {self.rate}; expected a number > 0")


class PerCouplingState(NamedTuple):
    """The states of both, each as if it trained all couplings; what it remembers of the other's is 0."""

    first: OptimizerState
    second: OptimizerState


@init_state.register(PerCoupling)
def init_per_coupling(optimizer: PerCoupling, params: ChainParams) -> PerCouplingState:
    check_couplings(optimizer.couplings, len(params))
    return PerCouplingState(init_state(optimizer.first, params), init_state(optimizer.second, params))


update.register(PerCoupling)(update_along)


@direction.register(PerCoupling)
def direction_per_coupling(
    optimizer: PerCoupling, state: PerCouplingState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    is_first = tuple(k in optimizer.couplings for k in range(len(params)))
    first = direction(optimizer.first, state.first, params, _trained(at, is_first), lr)
    others = tuple(not own for own in is_first)
    second = direction(optimizer.second, state.second, params, _trained(at, others), optimizer.rate * lr)
    D = tuple(
        D1 if own else trees.scale(optimizer.rate, D2)
        for own, D1, D2 in zip(is_first, first.params, second.params, strict=True)
    )
    return Direction(D, PerCouplingState(first.state, second.state), first.solve or second.solve)


def check_couplings(couplings: tuple[int, ...], count: int) -> None:
    """Raise `UsageError` unless a network of `count` couplings has these, and others."""
    if max(couplings) >= count or len(couplings) >= count:
        raise UsageError(
            f"couplings: {couplings} of a network whose couplings are 0 to {count - 1}; "
            "expected some of them, not all"
        )


def _trained(at: Linearization, trained: tuple[bool, ...]) -> Linearization:
    J = at.jacobian
    if J.trained is not None:
        trained = tuple(a and b for a, b in zip(trained, J.trained, strict=True))
    return at._replace(jacobian=J._replace(trained=trained))
