"""Gauss-Newton by a generalized inverse of the Jacobian.

    J D = eps        W <- W - lr D

eps is what the loss wants at the output, D the solver's solution (Buffelli et al. 2024, section 3).
"""

from dataclasses import dataclass
from typing import NamedTuple

from revgn.losses import wanted_change
from revgn.networks import ChainParams
from revgn.optimizers.optimizer import Linearization, Update, init_state, moved_by, update
from revgn.solvers import MinimumNorm, Solver, solve


@dataclass(frozen=True, slots=True)
class GaussNewton:
    """Gauss-Newton with the generalized inverse that `solver` stands for; decoupled weight decay."""

    solver: Solver = MinimumNorm()
    weight_decay: float = 0.0


class GaussNewtonState(NamedTuple):
    """Nothing is remembered."""


@init_state.register(GaussNewton)
def init_gauss_newton(optimizer: GaussNewton, params: ChainParams) -> GaussNewtonState:
    return GaussNewtonState()


@update.register(GaussNewton)
def update_gauss_newton(
    optimizer: GaussNewton, state: GaussNewtonState, params: ChainParams, at: Linearization, lr: float
) -> Update:
    D, info = solve(optimizer.solver, at.jacobian, wanted_change(at.loss, at.outputs, at.targets))
    params, step_norm = moved_by(params, D, lr, optimizer.weight_decay)
    return Update(params, state, step_norm, info)
