"""Orthogonalization of another optimizer's direction: all singular values of each weight's step become equal.

    M <- mu M + (1 - mu) D        mu M + (1 - mu) D = U S V^T        s U V^T,  s = sqrt(max(1, (d/2) / h))

D is the inner direction, and mu the momentum. Each weight is decomposed without its bias rows, which are
rescaled by the same factor as the norm of the matrix. The minimum-norm solution of J D = eps moves the
weights along few singular directions. After orthogonalization, all singular directions move equally. For the
gradient as D, this is Muon with Nesterov momentum (Jordan et al. 2024); the use for Gauss-Newton is our own.

The momentum of `GaussNewton` assumes that the weights have moved along the last direction D_(t-1): its solver
computes only the correction to D_(t-1). After orthogonalization, this assumption does not hold. A running
mean of exact steps reaches the same accuracy, and saves a product with J at each step.
"""

from functools import partial
from typing import Any, NamedTuple

from revgn import trees
from revgn.arrays import Array, array_namespace, blockwise, inner
from revgn.cost import Cost, Sizes, cost
from revgn.errors import UsageError
from revgn.maps import WeightForm
from revgn.networks import ChainParams, Network
from revgn.optimizers import muon
from revgn.optimizers.gauss_newton import GaussNewton
from revgn.optimizers.optimizer import (
    Direction,
    DirectionOptimizer,
    Linearization,
    OptimizerState,
    check_direction,
    direction,
    init_state,
    replaced_by,
)
from revgn.optimizers.polar import (
    Polar,
    cost_of_polar_factors,
    polar_factor,
    polar_setting,
    root_or_one,
)
from revgn.solvers import MinimumNorm
from revgn.structs import setting, struct


@struct
class Orthogonalized:
    """Direction U V^T in place of the inner optimizer's direction U S V^T, for each weight matrix.

    Learning rate and weight decay are taken from the inner optimizer.

    Notes
    -----
    Law: without momentum, the result does not depend on the length of the inner direction.
    Cost: the inner direction, and a polar factor of each weight (see `revgn.optimizers.polar`). If a solver
    found the inner direction, rho of the orthogonalized direction is known only at the steps at which
    Gauss-Newton measures it, which costs one jvp.
    """

    inner: DirectionOptimizer = setting(
        "Optimizer whose direction is orthogonalized.",
        default=GaussNewton(MinimumNorm(0.3, rows=1), lr=0.02),
        family="optimizer",
    )
    momentum: float = setting("Momentum mu of the inner directions (Nesterov).", default=0.8, ge=0, lt=1)
    polar: Polar = polar_setting()

    def check(self) -> None:
        """Raise `UsageError` if an inner GaussNewton has momentum, too, or `inner` has no direction."""
        check_direction("Orthogonalized", self.inner)
        parts = (self.inner, *(getattr(self.inner, name, None) for name in ("first", "second")))
        if self.momentum and any(isinstance(of, GaussNewton) and of.momentum for of in parts):
            raise UsageError(
                "Orthogonalized: both this optimizer and the inner GaussNewton have momentum; set one of "
                "them to 0"
            )

    @property
    def lr(self) -> float:
        """Learning rate of the inner optimizer."""
        return float(self.inner.lr)

    @property
    def weight_decay(self) -> float:
        """Weight decay of the inner optimizer."""
        return float(self.inner.weight_decay)


class OrthogonalizedState(NamedTuple):
    """State of the inner optimizer, and the running mean M of its directions."""

    inner: OptimizerState
    momentum: ChainParams


@init_state.register(Orthogonalized)
def init_orthogonalized(optimizer: Orthogonalized, network: Network, params: ChainParams) -> OptimizerState:
    """Return the initial state; without momentum, the initial state of the inner optimizer."""
    inner = init_state(optimizer.inner, network, params)
    return OrthogonalizedState(inner, trees.zeros_like(params)) if optimizer.momentum else inner


@direction.register(Orthogonalized)
def direction_orthogonalized(
    optimizer: Orthogonalized,
    state: Any,
    params: ChainParams,
    at: Linearization,
    scale: float = 1.0,
) -> Direction:
    mu = optimizer.momentum
    found = direction(optimizer.inner, state.inner if mu else state, params, at, scale)
    D = found.params
    if mu:
        M, D = muon.running_mean(mu, state.momentum, D)
        found = found._replace(state=OrthogonalizedState(found.state, M))
    D = muon.map_weights(partial(_orthogonal, optimizer.polar), at.jacobian.network, D)
    return replaced_by(found, D)


@cost.register(Orthogonalized)
def cost_orthogonalized(optimizer: Orthogonalized, sizes: Sizes) -> Cost:
    own = Cost(memory={"weights and steps": bool(optimizer.momentum) * sizes.weights * sizes.number})
    return cost(optimizer.inner, sizes) + own + cost_of_polar_factors(optimizer.polar, sizes)


def _orthogonal(method: Polar, form: WeightForm, D: Array) -> Array:
    xp = array_namespace(D)
    matrix, bias = muon.matrix_and_bias(form, D)
    if not matrix.shape[0]:
        return D
    M, s = polar_factor(method, matrix), muon.spectral_scale(matrix)

    def ratio(now: Array, before: Array) -> tuple[Array]:
        return (s * array_namespace(now).sqrt(now) / root_or_one(before),)

    (of_bias,) = blockwise(ratio, inner(M, M), inner(matrix, matrix))
    return xp.reshape(muon.with_bias(M, s, bias, of_bias), D.shape)
