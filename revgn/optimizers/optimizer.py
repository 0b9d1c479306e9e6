"""The interface of an optimizer: `init_state` and `update`, pure functions with explicit state.

Most optimizers implement only a `direction` D, and the default `update` steps W <- W - lr D. Wrappers such as
`Blend`, `Paced` and `Orthogonalized` combine or rescale the directions of other optimizers. An update
receives the network linearized at a batch, so first-order methods (one vjp) and Gauss-Newton (one solve)
share one interface. Nothing is changed in place.
"""

import math
from typing import Any, NamedTuple, Protocol, TypeAlias

from revgn import trees
from revgn._dispatch import Struct, generic, has_map
from revgn.arrays import Array
from revgn.errors import UsageError
from revgn.losses import Loss, gradient
from revgn.networks import ChainParams, Network
from revgn.solvers import Equation, Jacobian, SolveInfo, apply_adjoint, output_change, residuals

OptimizerState: TypeAlias = Any  # opaque: nested tuples of arrays and numbers, read only by its optimizer


class Optimizer(Struct, Protocol):
    """A frozen dataclass for which `init_state` is implemented, and `update` or `direction`."""


class DirectionOptimizer(Optimizer, Protocol):
    """An optimizer for which `direction` is implemented."""

    @property
    def lr(self) -> float:
        """Learning rate."""

    @property
    def weight_decay(self) -> float:
        """Weight decay, decoupled from the direction."""


class Linearization(NamedTuple):
    """The network linearized at a batch: the loss, outputs z (n, c), targets (n, c) and J = dz/dW.

    The random draws of an optimizer are determined by `seed` and the number of updates done. With `measure`,
    rho is measured at this step in any case.
    """

    loss: Loss
    outputs: Array
    targets: Array
    jacobian: Jacobian
    seed: int = 0
    measure: bool = False


class Update(NamedTuple):
    """Parameters and state after a step, the norm |W_new - W| (0-d) of the step, and the solve information.

    `lr` is the learning rate of the step. `length` is the factor with which the direction was applied; it is
    the learning rate, unless a bound or a line search chose another factor.
    """

    params: ChainParams
    state: OptimizerState
    step_norm: Array
    solve: SolveInfo | None
    lr: float
    length: float


class Direction(NamedTuple):
    """Direction D of the step W <- W - lr D, the new state, and the solve information.

    If a solver found D, `equation` is the equation J D = eps that was solved, and `solve.rho` is its relative
    residual.
    """

    params: ChainParams
    state: OptimizerState
    solve: SolveInfo | None
    equation: Equation | None = None


@generic
def init_state(optimizer: Optimizer, network: Network, params: ChainParams) -> OptimizerState:
    """Return the state before the first update.

    Notes
    -----
    Law: in this state, and in the state after each update, all arrays are stored row by row
    (`revgn.arrays.row_major`), and each leaf keeps its type, shape and dtype. A checkpoint restores them in
    this layout and these dtypes; in another layout a matrix product may round differently.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> revgn.init_state(revgn.Adam(), network, params).updates
    0
    """


@generic
def update(
    optimizer: Optimizer, state: OptimizerState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Update:
    """Take one step: return the new parameters, the new state and information about the step.

    `params` are the parameters at which the network was linearized, and `scale` multiplies every learning
    rate. By default, the step goes along the optimizer's `direction`.

    Notes
    -----
    Law: the result depends only on the arguments; equal arguments give equal bits.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> at = revgn.Linearization(revgn.SquaredError(), z, 0 * z, J)
    >>> exact = revgn.GaussNewton(revgn.MinimumNorm())
    >>> step = revgn.update(exact, revgn.init_state(exact, network, params), params, at)
    >>> step.solve.rho < 1e-9
    True
    """


@generic
def direction(
    optimizer: Optimizer, state: OptimizerState, params: ChainParams, at: Linearization, scale: float = 1.0
) -> Direction:
    """Return the direction D of the step W <- W - scale lr (D + weight_decay W), and the new state.

    Most directions do not depend on `scale`.

    Notes
    -----
    Law: the result depends only on the arguments; equal arguments give equal bits.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> at = revgn.Linearization(revgn.SquaredError(), z, 0 * z, J)
    >>> D = revgn.direction(revgn.SGD(), revgn.init_state(revgn.SGD(), network, params), params, at).params
    >>> np.isclose(revgn.trees.norm(D), revgn.trees.norm(revgn.batch_gradient(at)))
    np.True_
    """


@generic
def active(optimizer: Optimizer, state: OptimizerState) -> Optimizer:
    """Return the optimizer that takes the steps in this state, with settings that the state has adapted.

    By default, it is the optimizer itself.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> switch = revgn.Switch(first=revgn.SGD(), second=revgn.Adam(), switch_at=5)
    >>> type(active(switch, revgn.init_state(switch, network, params))).__name__
    'SGD'
    """


@active.register(object)
def _the_optimizer_itself(optimizer: Optimizer, state: OptimizerState) -> Optimizer:
    return optimizer


def replaced_by(solved: Direction, D: ChainParams) -> Direction:
    """Return the direction D in place of `solved`. Its rho is not known before it is measured.

    Wrappers use it for the direction that they apply in place of the solved one.
    """
    info = solved.solve
    if info is not None and solved.equation is not None:
        of_outputs = None if info.rho_outputs is None else math.nan
        info = info._replace(rho=math.nan, rho_outputs=of_outputs, change=None, left=None, is_measured=False)
    return solved._replace(params=D, solve=info)


def measured(found: Direction) -> SolveInfo | None:
    """Return the solve information, with rho = |J D - eps| / |eps| measured if it is due.

    Notes
    -----
    Cost: one jvp, unless rho has already been measured.
    """
    info = found.solve
    if info is None or found.equation is None or info.is_measured or not info.is_due:
        return info
    change = output_change(found.equation.jacobian, found.params)
    rho, of_outputs = residuals(found.equation, change)
    return info._replace(rho=rho, rho_outputs=of_outputs, change=change, is_measured=True)


@update.register(object)
def update_along(
    optimizer: DirectionOptimizer,
    state: OptimizerState,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Update:
    found = direction(optimizer, state, params, at, scale)
    lr = scale * optimizer.lr
    params, step_norm = moved_by(params, found.params, lr, optimizer.weight_decay)
    return Update(params, found.state, step_norm, measured(found), lr, lr)


def check_direction(name: str, optimizer: Optimizer) -> None:
    """Raise `UsageError`, on behalf of the struct `name`, unless the optimizer has a direction."""
    if not has_map(direction, type(optimizer)):
        raise UsageError(
            f"{name}: {type(optimizer).__name__} has no direction, because it computes whole steps; "
            "choose another inner optimizer"
        )


def batch_gradient(at: Linearization) -> ChainParams:
    """Return the gradient of the batch's mean loss with respect to the parameters, J^T dloss/dz.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> at = revgn.Linearization(revgn.SquaredError(), z, 0 * z, J)
    >>> [W.shape for (W,) in revgn.batch_gradient(at)]
    [(17, 2), (17, 2)]
    """
    return apply_adjoint(at.jacobian, gradient(at.loss, at.outputs, at.targets))


def moved_by(
    params: ChainParams, direction: ChainParams, lr: float, weight_decay: float
) -> tuple[ChainParams, Array]:
    """Return W - lr (D + weight_decay W), with decoupled weight decay, and the norm of the change."""
    if weight_decay:
        direction = trees.axpy(weight_decay, params, direction)
    return trees.axpy(-lr, direction, params), lr * trees.norm(direction)
