"""Gauss-Newton by a generalized inverse of the Jacobian, which may carry its last direction along.

    D_t = beta_t D_(t-1) + G (eps - beta_t J D_(t-1))        W <- W - lr D_t

eps is what the loss wants at the output, G the generalized inverse that the solver stands for. Without
carry (beta = 0) it is Buffelli et al. 2024, section 3. With carry the batch is asked only for what the last
direction misses: the SPRING rule (Goldshlager, Abrahamsen and Lin 2024, arXiv 2401.10190, section 3), of
which beta = 1 is the randomized Kaczmarz method.
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn import trees
from revgn.errors import UsageError
from revgn.linalg import norm
from revgn.losses import wanted_change
from revgn.networks import ChainParams
from revgn.optimizers.optimizer import (
    Direction,
    Linearization,
    direction,
    init_state,
    update,
    update_along,
)
from revgn.solvers import MinimumNorm, Solver, apply, solve


@dataclass(frozen=True, slots=True)
class GaussNewton:
    """Gauss-Newton with the generalized inverse that `solver` stands for; decoupled weight decay.

    Parameters
    ----------
    solver : MinimumNorm or BlockInverse
    weight_decay : float
    carry : float
        beta of the first update that has a direction to carry.
    carry_decay : float
        beta_t = carry * carry_decay^(t-1) at the t-th update.

    Raises
    ------
    UsageError
        If carry or its decay is not in [0, 1].
    """

    solver: Solver = MinimumNorm()
    weight_decay: float = 0.0
    carry: float = 0.0
    carry_decay: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.carry <= 1 and 0 <= self.carry_decay <= 1):
            raise UsageError(
                f"GaussNewton: carry {self.carry}, carry_decay {self.carry_decay}; expected both in [0, 1]"
            )


class GaussNewtonState(NamedTuple):
    """The last direction D, after so many updates; empty without carry."""

    updates: int
    direction: ChainParams


@init_state.register(GaussNewton)
def init_gauss_newton(optimizer: GaussNewton, params: ChainParams) -> GaussNewtonState:
    return GaussNewtonState(0, trees.zeros_like(params) if optimizer.carry else ())


update.register(GaussNewton)(update_along)


@direction.register(GaussNewton)
def direction_gauss_newton(
    optimizer: GaussNewton, state: GaussNewtonState, params: ChainParams, at: Linearization, lr: float
) -> Direction:
    wanted = wanted_change(at.loss, at.outputs, at.targets)
    if state.updates and optimizer.carry:
        beta = optimizer.carry * optimizer.carry_decay ** (state.updates - 1)
        missed = wanted - beta * apply(at.jacobian, state.direction)
        D, info = solve(optimizer.solver, at.jacobian, missed)
        D = trees.axpy(beta, state.direction, D)
        # J D - eps is what it was; it counts relative to what the step as a whole wants
        info = info._replace(rho=info.rho * norm(missed) / (norm(wanted) or 1.0))
    else:
        D, info = solve(optimizer.solver, at.jacobian, wanted)
    state = GaussNewtonState(state.updates + 1, D if optimizer.carry else ())
    return Direction(D, state, info)
