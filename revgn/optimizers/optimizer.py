"""What an optimizer is: `init_state` and `update`, with everything explicit.

Most have a `direction` D, along which the weights go W <- W - lr D: what can be blended, switched and
scaled by others, and all that `update` needs. An update sees the network linearized at a batch, so
first-order methods (one vjp) and Gauss-Newton (one solve) share it. Nothing is changed in place.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias

from revgn import trees
from revgn._dispatch import Struct, generic, has_map
from revgn.arrays import Array
from revgn.errors import UsageError
from revgn.losses import Loss, gradient
from revgn.networks import ChainParams, Network
from revgn.solvers import Equation, Jacobian, SolveInfo, apply_adjoint, output_change, residuals

OptimizerState: TypeAlias = Any  # opaque: nested tuples of arrays and numbers, read by its optimizer alone


class Optimizer(Struct, Protocol):
    """A frozen dataclass for which `init_state` is registered, and `update` or `direction`."""


class DirectionOptimizer(Optimizer, Protocol):
    """An optimizer for which `direction` is registered."""

    @property
    def lr(self) -> float:
        """Learning rate."""

    @property
    def weight_decay(self) -> float:
        """Weight decay, decoupled from the direction."""


class Linearization(NamedTuple):
    """A batch seen from the parameters: the loss, outputs z (n, c), targets (n, c) and J = dz/dW.

    What an optimizer draws at random follows from `seed` and the updates done.
    """

    loss: Loss
    outputs: Array
    targets: Array
    jacobian: Jacobian
    seed: int = 0


class Update(NamedTuple):
    """Parameters and state after a step, the norm |W_new - W| (0-d) of the step, and how it was solved for.

    `lr` is the learning rate of the step, `length` the factor of the direction that was applied: the learning
    rate, unless a bound or a line search chose another one.
    """

    params: ChainParams
    state: OptimizerState
    step_norm: Array
    solve: SolveInfo | None
    lr: float
    length: float


class Direction(NamedTuple):
    """D, with which the weights go W <- W - lr D; the state; how D was solved for, if it was.

    `equation` is then the J D = eps that was solved, of which `solve.rho` is the residual.
    """

    params: ChainParams
    state: OptimizerState
    solve: SolveInfo | None
    equation: Equation | None = None


@generic
def init_state(optimizer: Optimizer, network: Network, params: ChainParams) -> OptimizerState:
    """State before the first update.

    Notes
    -----
    Law: here and after each update, all arrays are stored row by row (`revgn.arrays.row_major`), as a
    checkpoint gives them back: a product with another layout may round differently.

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
    """One step; `params` are those of the linearization, `scale` multiplies every learning rate.

    Unless it is registered for an optimizer, the step goes along its `direction`.

    Notes
    -----
    Law: a function of its arguments alone; equal arguments give equal bits.

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
    """D of the step W <- W - scale lr (D + weight_decay W); most directions do not depend on `scale`.

    Notes
    -----
    Law: a function of its arguments alone; equal arguments give equal bits.

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


def measured(solved: Direction, D: ChainParams) -> SolveInfo | None:
    """How `solved` was solved for, with rho = |J D - eps| / |eps| of the D that is applied in its place.

    Notes
    -----
    Cost: a jvp.
    """
    if solved.solve is None or solved.equation is None:
        return solved.solve
    change = output_change(solved.equation.jacobian, D)
    rho, of_outputs = residuals(solved.equation, change)
    return solved.solve._replace(rho=rho, rho_outputs=of_outputs, change=change)


@update.register(object)
def update_along(
    optimizer: DirectionOptimizer,
    state: OptimizerState,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Update:
    D, state, solved, _ = direction(optimizer, state, params, at, scale)
    lr = scale * optimizer.lr
    params, step_norm = moved_by(params, D, lr, optimizer.weight_decay)
    return Update(params, state, step_norm, solved, lr, lr)


def check_direction(name: str, optimizer: Optimizer) -> None:
    """Raise `UsageError`, in the name of a struct that uses it, unless the optimizer has a direction."""
    if not has_map(direction, type(optimizer)):
        raise UsageError(
            f"{name}: {type(optimizer).__name__} chooses its steps as a whole and has no direction to use"
        )


def batch_gradient(at: Linearization) -> ChainParams:
    """Gradient of the batch's mean loss in the parameters: J^T d loss/dz.

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
    """W - lr (D + weight_decay W), decay decoupled from the direction, and the norm of the change."""
    if weight_decay:
        direction = trees.axpy(weight_decay, params, direction)
    return trees.axpy(-lr, direction, params), lr * trees.norm(direction)
